//! mic-seg
