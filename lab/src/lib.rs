//! The part of the lab that tests of other packages use: the shaping of a simulated path, which
//! does no I/O.

pub mod shaping;
