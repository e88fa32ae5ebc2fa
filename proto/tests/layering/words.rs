//! Words that belong in one room only: the clock, the environment, generated types, the libraries behind a wall.

use crate::source::{Source, is_name};
use crate::{Violation, assert_none, production_files};

/// Something that may be said in few places.
struct Rule {
    /// What may not be said: beginnings of paths and calls.
    words: &'static [&'static str],
    /// Where the rule holds: beginnings of paths; empty is everywhere.
    within: &'static [&'static str],
    /// Where it may be said all the same: beginnings or, with `*`, ends of paths.
    except: &'static [&'static str],
    /// The rule, and what to do instead.
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        words: &[
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "Utc::now",
            "Local::now",
            "Uuid::now_v7",
            "clock_gettime",
            "UNIX_EPOCH.elapsed",
        ],
        within: &[],
        except: &["proto/runtime/src/clock.rs"],
        why: "only runtime's clock reads the time; take a `Clock` or the time itself as an argument",
    },
    Rule {
        words: &["env::", "env = \"", "#[arg(env", ", env)]"],
        within: &[],
        except: &["*/src/config.rs"],
        why: "only `config` reads the environment; take what you need from the configuration",
    },
    Rule {
        words: &["process::exit", "process::abort", "process::Command", "Command::new("],
        within: &[],
        except: &[],
        why: "library code neither ends the process nor starts others; return an error",
    },
    Rule {
        words: &["unbounded_channel", "UnboundedSender", "UnboundedReceiver", "unbounded(", "unbounded::<"],
        within: &[],
        except: &[],
        why: "nothing grows without a limit; give the channel a capacity with a name and a reason",
    },
    Rule {
        words: &["v1::", "pub mod v1", "pub(crate) mod v1", "pub(super) mod v1", "pub use v1", "pub(crate) use v1"],
        within: &["proto/src/"],
        except: &["proto/src/convert.rs", "proto/src/convert/"],
        why: "only `convert` sees generated protobuf types; add a conversion there",
    },
    Rule {
        words: &["prost::"],
        within: &["proto/src/"],
        except: &["proto/src/convert.rs", "proto/src/convert/"],
        why: "protobuf is read in `convert` only",
    },
    Rule {
        words: &["pub mod v1", "pub(crate) mod v1", "pub use v1", "pub(crate) use v1"],
        within: &["proto/src/convert.rs", "proto/src/convert/"],
        except: &[],
        why: "generated protobuf types never leave `convert`; wrap them in a type of ours",
    },
    Rule {
        words: &["include!(", "include_proto!("],
        within: &[],
        except: &["proto/src/convert.rs", "proto/src/grpc.rs"],
        why: "generated code is included in convert.rs, and in grpc.rs where it is in domain types",
    },
    Rule {
        words: &["prost::", "promql_parser::", "zstd::"],
        within: &["agent/", "aggregator/src/", "aggregator/tsdb/", "aggregator/alerting/", "proto/runtime/"],
        except: &[],
        why: "the wire's and the query language's formats stay behind `proto` and `promql`",
    },
    Rule {
        words: &["sqlx::"],
        within: &[],
        except: &["aggregator/src/store"],
        why: "SQL is spoken in `store` only; add a method to the `Store` trait",
    },
    Rule {
        words: &["tonic::"],
        within: &[],
        except: &[
            "proto/src/grpc.rs",
            "agent/src/receive",
            "agent/src/uplink",
            "agent/src/config",
            "aggregator/src/ingest",
            "*/src/app.rs",
        ],
        why: "gRPC is spoken by `receive`, `uplink` and `ingest` only",
    },
    Rule {
        words: &["axum::", "tower_http::"],
        within: &[],
        except: &["agent/src/status", "aggregator/src/http", "*/src/app.rs"],
        why: "HTTP is served by the agent's `status` and the aggregator's `http` only",
    },
    Rule {
        words: &["reqwest::"],
        within: &[],
        except: &["aggregator/src/notify", "aggregator/src/config.rs", "*/src/app.rs"],
        why: "HTTP is called by `notify` only",
    },
    Rule {
        words: &["spool::"],
        within: &["agent/src/"],
        except: &[
            "agent/src/keep",
            "agent/src/app.rs",
            "agent/src/cli",
            "agent/src/config",
            "agent/src/fail_disk.rs",
            "agent/src/status.rs",
        ],
        why: "one thread, the keeper, owns the spool; ask its `Door`",
    },
];

fn violations(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut note = |at: usize, word: &str, why: &str| {
        let message = format!("`{}`: {why}", word.trim_end_matches('('));
        found.push(Violation { file: source.path.clone(), line: source.line_of(at), message });
    };
    for rule in RULES {
        let holds = rule.within.is_empty() || rule.within.iter().any(|place| source.path.starts_with(place));
        if !holds || rule.except.iter().any(|place| matches(&source.path, place)) {
            continue;
        }
        for word in rule.words {
            source.find(word).into_iter().for_each(|at| note(at, word, rule.why));
        }
    }
    for at in std_channels(source) {
        note(at, "mpsc::channel()", "the standard library's channel has no limit; use `sync_channel`");
    }
    found
}

fn matches(path: &str, place: &str) -> bool {
    match place.strip_prefix('*') {
        Some(end) => path.ends_with(end),
        None => path.starts_with(place),
    }
}

/// `mpsc::channel()` and `mpsc::channel::<T>()`: without a capacity it is the standard library's, which has no limit.
fn std_channels(source: &Source) -> Vec<usize> {
    const CALL: &str = "mpsc::channel";
    let no_argument = |at: &usize| {
        let rest = &source.production[at + CALL.len()..];
        let rest = match rest.strip_prefix("::<") {
            Some(generic) => generic.split_once(">(").map_or("", |(_, after)| after),
            None => rest.strip_prefix('(').unwrap_or(""),
        };
        rest.starts_with(')')
    };
    let whole = |at: &usize| source.production.as_bytes().get(at + CALL.len()).is_none_or(|b| !is_name(*b));
    source.find(CALL).into_iter().filter(|at| whole(at) && no_argument(at)).collect()
}

#[test]
fn every_word_is_said_in_its_room_only() {
    assert_none(production_files().iter().flat_map(violations).collect());
}

#[test]
fn each_rule_finds_what_it_is_for() {
    for (path, text) in [
        ("agent/src/keep.rs", "let now = std::time::Instant::now();"),
        ("aggregator/src/rules.rs", "let now = jiff::Timestamp::now();"),
        ("aggregator/src/rules.rs", "let id = Uuid::now_v7();"),
        ("proto/runtime/src/log.rs", "use rustix::time::clock_gettime;"),
        ("agent/src/cli.rs", "let home = std::env::var(\"HOME\");"),
        ("agent/src/cli.rs", "#[arg(long, env = \"MONITORING_X\")]"),
        ("aggregator/src/cli.rs", "#[arg(long, env)]"),
        ("aggregator/src/app.rs", "std::process::exit(1);"),
        ("agent/src/collect/host.rs", "let out = Command::new(\"df\").output();"),
        ("aggregator/src/notify.rs", "let (tx, rx) = tokio::sync::mpsc::unbounded_channel();"),
        ("agent/src/uplink.rs", "let (tx, rx) = mpsc::channel();"),
        ("agent/src/uplink.rs", "let (tx, rx) = std::sync::mpsc::channel::<Vec<u8>>();"),
        ("proto/src/message.rs", "pub struct Raw(pub crate::convert::v1::Batch);"),
        ("proto/src/convert.rs", "pub(crate) mod v1 {}"),
        ("proto/src/catalog.rs", "include!(concat!(env!(\"OUT_DIR\"), \"/x.rs\"));"),
        ("agent/src/batch.rs", "use prost::Message;"),
        ("proto/src/grpc.rs", "use prost::Message;"),
        ("proto/src/convert/batch.rs", "pub use v1::Batch;"),
        ("aggregator/src/rules.rs", "use promql_parser::parser;"),
        ("aggregator/src/rules.rs", "sqlx::query(\"select 1\");"),
        ("aggregator/src/rules.rs", "fn f() -> tonic::Status {}"),
        ("aggregator/src/notify/webhook.rs", "use axum::Router;"),
        ("aggregator/src/ingest.rs", "reqwest::Client::new();"),
        ("agent/src/uplink/session.rs", "fn f(s: &spool::Spool) {}"),
    ] {
        let source = Source::new(path, &format!("//! Door.\n{text}\n"));
        let found = violations(&source);
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert_eq!((found[0].file.as_str(), found[0].line), (path, 2));
    }
}

#[test]
fn what_is_said_in_its_room_or_only_looks_like_it_is_no_violation() {
    for (path, text) in [
        ("proto/runtime/src/clock.rs", "let now = clock_gettime(ClockId::Realtime);"),
        ("agent/src/config.rs", "#[arg(long, env = \"MONITORING_CONFIG\")]"),
        ("proto/src/convert.rs", "mod v1 { include!(concat!(env!(\"OUT_DIR\"), \"/x.rs\")); }"),
        ("agent/src/collect/cgroup.rs", "v1::Group::new(); let version = env!(\"CARGO_PKG_VERSION\");"),
        ("agent/src/keep.rs", "let (tx, rx) = mpsc::channel(WINDOW); let x = mpsc::channel::<u8>(WINDOW);"),
        ("agent/src/cli.rs", "Command::Run(overrides); let when = tokio::time::Instant::from_std(at);"),
        ("aggregator/src/store/sqlite.rs", "sqlx::query(\"select now()\"); // SystemTime::now()"),
        ("agent/src/keep.rs", "use spool::Spool;\n#[cfg(test)]\nmod tests { fn f() { std::process::exit(1) } }"),
    ] {
        let found = violations(&Source::new(path, text));
        assert!(found.is_empty(), "{path}: {text}: {found:?}");
    }
}
