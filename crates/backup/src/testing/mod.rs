//! What tests, benchmarks and fuzz targets share.

#[cfg(test)]
pub(crate) mod chains;
#[cfg(test)]
pub(crate) mod faults;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod histories;
#[cfg(test)]
pub(crate) mod increments;
#[cfg(test)]
mod model;
#[cfg(test)]
mod points;

#[doc(hidden)]
pub mod benchmark;
#[doc(hidden)]
pub mod fuzz;
