//! Why a rule is unknown: which agents that it reads are not heard of, or have a hole right after what it read of them.

use super::rule::Rule;
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

    /// What a rule that is read did not know.
    pub(super) fn inherit(&mut self, read: &Rule) {
        if let Some(why) = &read.doubt {
            self.why.get_or_insert_with(|| format!("{}: {why}", read.loaded.rule.name()));
        }
        self.agents.extend(read.doubtful.iter().cloned());
    }

    /// A series of these labels has nothing since a gap.
    pub(super) fn over_gap(&mut self, labels: &Labels, reason: &str) {
        let [service, instance] = ["service", "instance"].map(|name| labels.get(name).unwrap_or_default().to_owned());
        self.why.get_or_insert_with(|| format!("records of {service}/{instance} are missing: {reason}"));
        self.agents.insert(Unheard { service, instance });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_told_and_every_agent_is_noted_once() {
        let mut doubt = Doubt::default();
        assert!(doubt.why.is_none() && doubt.agents.is_empty());
        let labels = Labels::try_new([("service", "agenda"), ("instance", "b"), ("disk", "sda")]).expect("legal");
        doubt.over_gap(&labels, "corrupt");
        doubt.unheard("agenda", "a");
        doubt.unheard("agenda", "b");
        assert_eq!(doubt.why.as_deref(), Some("records of agenda/b are missing: corrupt"));
        let agents: Vec<_> =
            doubt.agents.iter().map(|agent| (agent.service.as_str(), agent.instance.as_str())).collect();
        assert_eq!(agents, [("agenda", "a"), ("agenda", "b")]);
    }

    #[test]
    fn a_series_that_names_no_agent_is_doubted_under_no_name() {
        let mut doubt = Doubt::default();
        doubt.over_gap(&Labels::EMPTY, "spool_full");
        assert_eq!(doubt.agents.into_iter().next(), Some(Unheard { service: String::new(), instance: String::new() }));
    }
}
