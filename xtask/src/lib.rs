//! Chores of the workspace: reproductions and their reports.

pub mod bench;
pub mod cli;
pub mod cuda_toolkit;
pub mod failure;
pub mod fetch;
pub mod report;
pub mod reproduce;
