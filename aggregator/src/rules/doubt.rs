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
    /// Why another rule is unknown whose record is read: then nothing of the result can be believed, whatever its labels
    /// say, for a recording rule sets labels of its own.
    pub(super) inherited: Option<String>,
}

impl Doubt {
    /// Whether all was known.
    pub(super) fn is_none(&self) -> bool {
        self.agents.is_empty() && self.inherited.is_none()
    }

    /// The first reason of all.
    pub(super) fn reason(&self) -> Option<&str> {
        self.why.as_deref().or(self.inherited.as_deref())
    }

    /// The agent is not heard of.
    pub(super) fn unheard(&mut self, service: &str, instance: &str) {
        self.why.get_or_insert_with(|| format!("{service}/{instance} is not heard of"));
        self.agents.insert(Unheard { service: service.into(), instance: instance.into() });
    }

    /// What the rule called `name`, whose record is read, did not know itself. What it inherited comes from where that did.
    pub(super) fn inherit(&mut self, name: &str, read: &Self) {
        if let (None, Some(why)) = (&self.inherited, &read.why) {
            self.inherited = Some(format!("{name}: {why}"));
        }
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
    fn what_is_inherited_is_the_others_own_doubt_and_no_longer_than_that() {
        let (mut read, mut doubt) = (Doubt::default(), Doubt::default());
        doubt.inherit("sum", &read);
        assert!(doubt.is_none() && doubt.reason().is_none());
        read.unheard("agenda", "a");
        read.inherited = Some("of a third".into());
        doubt.inherit("sum", &read);
        assert_eq!((doubt.is_none(), doubt.reason()), (false, Some("sum: agenda/a is not heard of")));
        assert!(doubt.agents.is_empty(), "it is not this rule that read it");
    }

    #[test]
    fn a_series_that_names_no_agent_is_doubted_under_no_name() {
        let mut doubt = Doubt::default();
        doubt.over_gap(&Labels::EMPTY, "spool_full");
        assert_eq!(doubt.agents.into_iter().next(), Some(Unheard { service: String::new(), instance: String::new() }));
    }
}
