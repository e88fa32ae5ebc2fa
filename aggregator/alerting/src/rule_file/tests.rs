use super::*;
use proptest::prelude::*;
use proto::yaml::FILE_MAX_BYTES;

/// Stands for the query engine: refuses `BAD` at its place.
fn check(expr: &str) -> Result<(), ExprProblem> {
    match expr.find("BAD") {
        None => Ok(()),
        Some(at) => {
            let (line, column) =
                (expr[..at].matches('\n').count() + 1, expr[..at].lines().last().map_or(0, |l| l.chars().count()) + 1);
            Err(ExprProblem { message: "BAD is bad".to_owned(), line, column })
        }
    }
}

fn good(text: &str) -> RuleFile {
    parse("rules.yaml", text, &check).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// `line:column message` of each problem.
fn problems(text: &str) -> Vec<String> {
    let problems = parse("rules.yaml", text, &check).expect_err(text);
    assert!(problems.iter().all(|problem| problem.file == "rules.yaml"));
    problems.iter().map(|p| format!("{}:{} {}", p.line, p.column, p.message)).collect()
}

/// The problems of one rule, written from line 4 on with an indent of 4.
fn rule_problems(rule: &str) -> Vec<String> {
    let indented = rule.replace('\n', "\n      ");
    problems(&format!("groups:\n- name: g\n  rules:\n    - {indented}\n"))
}

fn alert(rule: &Rule) -> &AlertRule {
    rule.as_alert().expect("an alert")
}

const FULL: &str = r#"
groups:
  - name: clinica-api
    interval: 30s
    query_offset: 10s
    limit: 200
    labels: {team: plataforma, severity: warning}
    rules:
      - alert: AgendaApiErros
        expr: http_errors_per_second{code=~"5.."} > 0.2
        for: 5m
        keep_firing_for: 10m
        labels: {severity: critical, codigo: 500}
        annotations:
          summary: "{{ $labels.service }} com {{ $value | humanize }} erros/s"
          runbook_url: https://runbooks.exemplo/agenda
      - alert: AgentDown
        expr: |
          agent_connected
            == 0
  - name: empty
"#;

#[test]
fn a_file_becomes_groups_and_rules() {
    let file = good(FULL);
    assert_eq!(file.file, "rules.yaml");
    assert_eq!(file.groups.len(), 2);
    let group = &file.groups[0];
    assert_eq!(group.name, "clinica-api");
    assert_eq!(group.interval, Some(Duration::from_secs(30)));
    assert_eq!(group.query_offset, Some(Duration::from_secs(10)));
    assert_eq!(group.limit, Some(200));
    let rule = alert(&group.rules[0]);
    assert_eq!(rule.name, "AgendaApiErros");
    assert_eq!(rule.expr, "http_errors_per_second{code=~\"5..\"} > 0.2");
    assert_eq!((rule.hold_for, rule.keep_firing_for), (Duration::from_mins(5), Duration::from_mins(10)));
    assert_eq!((rule.limit, rule.line), (200, 9));
    let names: Vec<&str> = rule.annotations.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["runbook_url", "summary"]);
    let second = alert(&group.rules[1]);
    assert_eq!(second.expr, "agent_connected\n  == 0\n");
    assert_eq!((second.hold_for, second.keep_firing_for), (Duration::ZERO, Duration::ZERO));
    assert_eq!(file.rules().count(), 2);
    assert!(file.groups[1].rules.is_empty());
}

#[test]
fn labels_of_the_group_reach_every_rule_and_the_rule_wins() {
    let file = good(FULL);
    let labels = |index: usize| -> Vec<(&str, &str)> {
        alert(&file.groups[0].rules[index]).labels.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect()
    };
    assert_eq!(labels(0), [("codigo", "500"), ("severity", "critical"), ("team", "plataforma")]);
    assert_eq!(labels(1), [("severity", "warning"), ("team", "plataforma")]);
}

#[test]
fn an_empty_file_has_no_groups() {
    for text in ["", "# nothing yet\n", "---\n", "groups:\n", "groups: []\n"] {
        assert_eq!(good(text).groups, [], "{text:?}");
    }
}

#[test]
fn defaults_are_those_of_prometheus_but_for_the_fuse() {
    let file = good("groups: [{name: g, interval: 0s, limit: 0, rules: [{alert: A, expr: up}]}]");
    assert_eq!((file.groups[0].interval, file.groups[0].limit), (None, None));
    assert_eq!(alert(&file.groups[0].rules[0]).limit, INSTANCES_MAX);
}

#[test]
fn mistakes_of_a_group_are_placed() {
    assert_eq!(problems("groups:\n- name: ''\n"), ["2:9 the group name must not be empty"]);
    assert_eq!(problems("groups:\n- rules: []\n"), ["2:3 the group name must not be empty"]);
    assert_eq!(
        problems("groups:\n- name: a\n- name: b\n- name: a\n"),
        ["4:3 the group name \"a\" is repeated in this file"]
    );
    assert_eq!(
        problems("groups:\n- name: a\n  interval: 5\n  limit: -1\n  evry: 1\n  limit: 3\n"),
        [
            "3:13 \"5\" is not a duration such as 30s, 5m or 1h30m (units y w d h m s ms, in this order)",
            "4:10 the limit \"-1\" is not a whole number",
            "5:3 the field \"evry\" is not known in a group",
            "6:3 the key \"limit\" is repeated in a group",
        ]
    );
    assert_eq!(problems("groups:\n- name: a\n  labels:\n    __name__: x\n").len(), 1);
}

#[test]
fn a_rule_is_an_alert_or_a_record_and_never_both() {
    assert_eq!(rule_problems("expr: up"), ["4:7 one of 'alert' and 'record' must be set"]);
    assert_eq!(rule_problems("alert: ''\nexpr: up"), ["4:7 one of 'alert' and 'record' must be set"]);
    assert_eq!(rule_problems("alert: A\nrecord: a:b\nexpr: up"), ["4:14 only one of 'alert' and 'record' may be set"]);
    assert_eq!(rule_problems("record: a:b\nexpr: up\nfor: 5m"), ["6:12 invalid field \"for\" in a recording rule"]);
    let named = rule_problems("record: a-b\nexpr: up");
    assert!(named[0].starts_with("4:15 invalid recording rule name: metric name \"a-b\""), "{}", named[0]);
}

#[test]
fn a_recording_rule_has_the_labels_of_its_group_and_its_own_as_they_are_written() {
    let text = "
groups:
- name: g
  limit: 7
  labels: {team: infra, tier: one}
  rules:
  - {record: 'job:up:sum', expr: sum by (job) (up), labels: {tier: two, note: 'not {{ $value }} here'}}
";
    let file = good(text);
    let Rule::Record(rule) = &file.groups[0].rules[0] else { panic!("it records") };
    assert_eq!((rule.name.as_str(), rule.limit, rule.line), ("job:up:sum", 7, 7));
    let labels: Vec<_> = rule.labels.iter().map(|label| (label.name(), label.value())).collect();
    assert_eq!(labels, [("note", "not {{ $value }} here"), ("team", "infra"), ("tier", "two")]);
}

#[test]
fn an_interval_that_would_be_a_hot_loop_is_refused_and_zero_is_the_default() {
    let group = |interval: &str| format!("groups:\n- name: g\n  interval: {interval}\n");
    assert_eq!(problems(&group("1ms")), ["3:13 the interval 1ms is shorter than 1s"]);
    assert_eq!(problems(&group("999ms")), ["3:13 the interval 999ms is shorter than 1s"]);
    assert_eq!(good(&group("1s")).groups[0].interval, Some(Duration::from_secs(1)));
    assert_eq!(good(&group("0s")).groups[0].interval, None);
}

#[test]
fn a_nul_character_is_refused_wherever_it_stands_since_no_database_would_store_it() {
    let nul = "a NUL character cannot be stored; leave it out";
    assert_eq!(problems("groups:\n- name: \"g\\0\"\n"), [format!("2:9 {nul}")]);
    let rule = "alert: \"A\\0\"\nexpr: up\nlabels: {a: \"x\\0\"}\nannotations:\n  summary: \"is\\0 over\"";
    assert_eq!(rule_problems(rule), [format!("4:14 {nul}"), format!("6:19 {nul}"), format!("8:18 {nul}")]);
}

#[test]
fn a_bad_expression_is_placed_inside_its_scalar() {
    assert_eq!(rule_problems("alert: A"), ["4:7 field 'expr' must be set in a rule"]);
    assert_eq!(rule_problems("alert: A\nexpr:"), ["5:11 field 'expr' must be set in a rule"]);
    let message = "could not parse the expression: BAD is bad";
    assert_eq!(rule_problems("alert: A\nexpr: up > BAD"), [format!("5:18 {message}")]);
    assert_eq!(rule_problems("alert: A\nexpr: |\n  up\n    > BAD"), [format!("7:13 {message}")]);
    assert_eq!(rule_problems("alert: A\nexpr: >-\n  up\n  > BAD"), [format!("7:11 {message}")]);
    assert_eq!(rule_problems("alert: A\nexpr: \"up{a=\\\"1\\\"} > BAD\""), [format!("5:28 {message}")]);
}

#[test]
fn labels_are_checked_by_name_and_by_value() {
    let rule = "alert: A\nexpr: up\nlabels:\n  bad-name: x\n  __name__: y\n  alertname: B\n  long: ";
    let rule = format!("{rule}{}\n  deep: {{a: 1}}\n  tpl: a {{{{ $valu }}}}", "v".repeat(1025));
    let found = rule_problems(&rule);
    let starts = [
        "7:9 label name \"bad-name\" must match",
        "8:9 label name \"__name__\" is reserved",
        "9:9 the label alertname is the name of the rule itself",
        "10:15 the value of label \"long\" has 1025 bytes",
        "11:15 a single value is expected here",
        "12:19 \"$valu\" in a template is not supported yet",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem} should start with {start}");
    }
}

#[test]
fn annotations_may_begin_with_underscores_but_must_be_names_and_templates() {
    let found = rule_problems(
        "alert: A\nexpr: up\nannotations:\n  __dashboardUid__: x\n  a b: y\n  text: |\n    line\n    {{ end }}\n  n: ~",
    );
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!(found[0], "8:9 invalid annotation name \"a b\"");
    assert!(found[1].starts_with("11:14 \"end\" in a template"), "{}", found[1]);
}

#[test]
fn too_many_labels_are_refused_with_the_rule() {
    let labels: Vec<String> = (0..=LABELS_MAX).map(|i| format!("\n  l{i}: x")).collect();
    let labels = labels.concat();
    assert_eq!(
        rule_problems(&format!("alert: A\nexpr: up\nlabels:{labels}")),
        ["4:7 31 labels on one rule; the limit is 30"]
    );
}

#[test]
fn the_wrong_kind_of_node_is_named() {
    assert_eq!(problems("[]"), ["1:1 a rule file: a mapping is expected here"]);
    assert_eq!(problems("groups: 5"), ["1:9 a list is expected here"]);
    assert_eq!(problems("groups: [{name: a, rules: {}}]"), ["1:27 a list is expected here"]);
    assert_eq!(problems("groups: [x]").first().map(String::as_str), Some("1:10 a group: a mapping is expected here"));
    assert_eq!(problems("groups: [~]").first().map(String::as_str), Some("1:10 a group: a mapping is expected here"));
    assert_eq!(problems("{[a]: b}"), ["1:2 a rule file has names for its fields"]);
}

#[test]
fn all_mistakes_of_a_file_come_at_once_in_the_order_of_the_file() {
    let found = problems(
        "groups:\n- name: ''\n  rules:\n  - {alert: A, expr: BAD, for: 5x}\n  - {alert: B}\n- name: b\n  intervall: 5m\n",
    );
    let places: Vec<&str> = found.iter().map(|p| p.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(places, ["2:9", "4:22", "4:32", "5:5", "7:3"]);
}

#[test]
fn a_file_of_mistakes_is_cut_and_says_how_many_there_are() {
    let rules = "  - {alert: A}\n".repeat(PROBLEMS_MAX + 20);
    let found = problems(&format!("groups:\n- name: a\n  rules:\n{rules}"));
    assert_eq!(found.len(), PROBLEMS_MAX);
    assert!(found[PROBLEMS_MAX - 1].ends_with("(and 20 more problems)"));
}

#[test]
fn thousands_of_mistakes_in_the_largest_file_are_all_found() {
    let rule = "  - {alert: A, expr: up > BAD, annotations: {a: '{{ x }}'}}\n";
    let head = "groups:\n- name: a\n  rules:\n";
    let rules = (FILE_MAX_BYTES - head.len()) / rule.len();
    let found = problems(&format!("{head}{}", rule.repeat(rules)));
    assert_eq!(found[0], "4:27 could not parse the expression: BAD is bad");
    let more = format!("(and {} more problems)", 2 * rules - PROBLEMS_MAX);
    assert!(found[PROBLEMS_MAX - 1].ends_with(&more), "{}", found[PROBLEMS_MAX - 1]);
}

#[test]
fn a_problem_prints_as_editors_read_it() {
    let problem = parse("a/b.yml", "groups: 5", &check).expect_err("no list").remove(0);
    assert_eq!(problem.to_string(), "a/b.yml:1:9: a list is expected here");
}

proptest! {
    #[test]
    fn no_damage_to_a_file_panics_and_every_problem_is_inside(
        at in 0..FULL.len(),
        cut in 0usize..12,
        with in "[a-z{}\\[\\]:&*|>'\"\n -]{0,6}",
    ) {
        prop_assume!(FULL.is_char_boundary(at));
        let end = (at + cut).min(FULL.len());
        let text = format!("{}{with}{}", &FULL[..at], &FULL[end..]);
        if let Err(problems) = parse("f", &text, &check) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                let lines = text.matches('\n').count() + 1;
                prop_assert!((1..=lines).contains(&problem.line), "{}", problem);
                prop_assert!(!problem.message.is_empty());
            }
        }
    }

    #[test]
    fn durations_and_names_come_through(name in "[A-Z][a-z]{1,8}", minutes in 0u64..10_000) {
        let printed = duration::print(Duration::from_mins(minutes));
        let file = good(&format!("groups: [{{name: g, rules: [{{alert: {name}, expr: up, for: {printed}}}]}}]"));
        let rule = alert(&file.groups[0].rules[0]);
        prop_assert_eq!(&rule.name, &name);
        prop_assert_eq!(rule.hold_for, Duration::from_mins(minutes));
    }
}
