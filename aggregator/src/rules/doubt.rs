//! Why a rule is unknown: which agents that it reads are not heard of, or have a hole right after what it read of them.

use alerting::Unheard;
use proto::name::Labels;
use std::collections::BTreeSet;

/// What is not known of a rule's result.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// The agents whose samples may be missing in it.
    pub(super) agents: BTreeSet<Unheard>,
    /// The first reason, for a person.
    pub(super) why: Option<String>,
}

impl Doubt {
    /// The agent is not heard of.
    pub(super) fn unheard(&mut self, service: &str, instance: &str) {
        self.why.get_or_insert_with(|| format!("{service}/{instance} is not heard of"));
        self.agents.insert(Unheard { service: service.into(), instance: instance.into() });
    }

    /// A series of these labels has nothing since a gap.
    pub(super) fn over_gap(&mut self, labels: &Labels, reason: &str) {
        let [service, instance] = ["service", "instance"].map(|name| labels.get(name).unwrap_or_default().to_owned());
        self.why.get_or_insert_with(|| format!("records of {service}/{instance} are missing: {reason}"));
        self.agents.insert(Unheard { service, instance });
    }
}
