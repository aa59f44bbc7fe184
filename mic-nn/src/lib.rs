//! mic-nn
