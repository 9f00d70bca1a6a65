//! What tests, benchmarks and fuzz targets share.

#[doc(hidden)]
pub mod benchmark;
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod model;
