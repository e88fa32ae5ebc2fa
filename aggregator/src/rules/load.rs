//! A rule file becomes rules that can be evaluated.

use super::Duration;
use alerting::{ExprProblem, Problem, Rule, rule_file};
use promql::{Kind, Query};
use std::collections::HashMap;

/// The rules of a file.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// In the order of the file.
    pub rules: Vec<Loaded>,
}

/// A rule with everything that its group says.
#[derive(Debug)]
pub struct Loaded {
    /// Names it in the database: group, name, and which of that name.
    pub key: String,
    /// The file it comes from.
    pub file: String,
    /// Its group.
    pub group: String,
    /// How often at least.
    pub interval: Duration,
    /// How far before now.
    pub offset: Duration,
    /// The rule.
    pub rule: Rule,
    /// Its expression.
    pub query: Query,
}

/// Reads the rules of `text`, the contents of `file`; all mistakes at once. `interval` is a group's default.
pub fn load(file: &str, text: &str, interval: Duration) -> Result<RuleSet, Vec<Problem>> {
    let check = |expr: &str| match promql::parse(expr) {
        Ok(query) if matches!(query.kind(), Kind::Text | Kind::Matrix) => {
            let message = "a rule needs a vector or a number, and this gives neither".to_owned();
            Err(ExprProblem { message, line: 1, column: 1 })
        }
        Ok(_) => Ok(()),
        Err(error) => Err(ExprProblem { message: error.message, line: error.line, column: error.column }),
    };
    let parsed = rule_file::parse(file, text, &check)?;
    let mut rules = Vec::new();
    for group in parsed.groups {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for rule in group.rules {
            let nth = seen.entry(rule.name().to_owned()).or_default();
            let key = format!("{}/{}/{nth}", escaped(&group.name), escaped(rule.name()));
            *nth += 1;
            let query = promql::parse(rule.expr()).map_err(|error| {
                let message = error.to_string();
                vec![Problem { file: file.into(), line: rule.line(), column: 1, message }]
            })?;
            rules.push(Loaded {
                key,
                file: file.into(),
                group: group.name.clone(),
                interval: group.interval.unwrap_or(interval),
                offset: group.query_offset.unwrap_or_default(),
                rule,
                query,
            });
        }
    }
    Ok(RuleSet { rules })
}

/// A name without slashes, so that no two rules have the same key.
fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod shipped {
    use super::*;

    #[test]
    fn the_rules_that_we_ship_load_and_read_metrics_that_the_catalog_promises() {
        let set = load("config/rules.yaml", include_str!("../../../config/rules.yaml"), Duration::from_secs(15));
        let set = set.expect("our own rules are right");
        assert!(!set.rules.is_empty());
        for rule in &set.rules {
            for name in rule.query.metric_names().expect("our rules name their metrics") {
                assert!(proto::catalog::find(name).is_some(), "{}: {name} is not in the catalog", rule.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Duration = Duration::from_secs(15);

    fn read(text: &str) -> Result<RuleSet, Vec<String>> {
        load("rules.yml", text, DEFAULT).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_rule_has_what_its_group_says_and_the_default_where_it_says_nothing() {
        let text = "
groups:
- name: slow
  interval: 1m
  query_offset: 10s
  rules: [{alert: A, expr: a > 1}]
- name: plain
  rules: [{alert: B, expr: b}]
";
        let set = read(text).expect("good rules");
        let told: Vec<_> =
            set.rules.iter().map(|r| (r.group.as_str(), r.interval.as_secs(), r.offset.as_secs())).collect();
        assert_eq!(told, [("slow", 60, 10), ("plain", 15, 0)]);
        assert!(set.rules[0].query.reads("a") && !set.rules[0].query.reads("b"));
        assert_eq!(set.rules[0].file, "rules.yml");
    }

    #[test]
    fn no_two_rules_have_the_same_key() {
        let text = "
groups:
- name: a
  rules: [{alert: b/c, expr: x}, {alert: b/c, expr: y}, {alert: b%2Fc, expr: z}]
- name: a/b
  rules: [{alert: c, expr: x}]
";
        let keys: Vec<_> = read(text).expect("good rules").rules.into_iter().map(|rule| rule.key).collect();
        assert_eq!(keys, ["a/b%2Fc/0", "a/b%2Fc/1", "a/b%252Fc/0", "a%2Fb/c/0"]);
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_places() {
        let text = "
groups:
- name: g
  rules:
  - alert: A
    expr: rate(
  - alert: B
    expr: up
    fur: 5m
";
        let problems = read(text).expect_err("two mistakes");
        assert!(problems.len() >= 2, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.starts_with("rules.yml:")), "{problems:?}");
    }

    #[test]
    fn an_empty_file_has_no_rules() {
        assert!(read("groups: []").expect("fine").rules.is_empty());
    }
}
