//! mic-core
