//! Built-in street scenes.
