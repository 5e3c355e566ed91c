//! `[drain]`.

use super::prelude::*;

keys! {
    /// How Byway stops.
    pub struct Drain {} => DrainPlan {
        /// How long open connections have to finish after a stop.
        ///
        /// Then they are closed; `"0s"` closes them at once. Service managers wait for about 30 s
        /// before they kill a process.
        deadline: Period => Duration = seconds(30), in Duration::ZERO..=*Period::ANY.end();
    }
}
