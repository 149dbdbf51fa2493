//! Properties that hold for every policy.
