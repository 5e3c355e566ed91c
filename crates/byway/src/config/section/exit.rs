//! `[[exit]]`.

use super::EgressCommon;
use super::kind::Group;
use super::prelude::*;
use super::rule::RulesWithoutUsers;

keys! {
    /// The exit of a two-hop egress.
    ///
    /// It has no users: links are authenticated by their grant, whose id is in the log. The same
    /// guard against internal addresses applies as for a `[[proxy]]`.
    pub struct Exit {
        /// As for an edge.
        name: String, in "up to 64 characters", example "exit",
            default "the address of each listener";
        /// As for a `[[serve]]`.
        listen: Vec<String>, in "TCP addresses", example "0.0.0.0:7443", required;
        /// As for a `[[serve]]`.
        advertise: String, in "a name or an address", example "exit.example.com:7443",
            default "the first address of `listen` if it is a single one";
        /// See [`EgressCommon`].
        common: Group<EgressCommon>;
        /// `[[exit.rule]]`.
        rule: RulesWithoutUsers;
    }
}
