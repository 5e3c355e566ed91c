//! The part of the lab that tests of other packages use: the shaping of a simulated path, which is
//! pure.

pub mod shaping;
