//! `/sd`: Prometheus's HTTP service discovery, one target for each agent.
//!
//! The whole list each time. An agent that went silent stays for [`crate::live::LOST_KEPT`], so that `up == 0` can fire
//! instead of the target vanishing; one that said goodbye is not listed. Where several agents share a name (a pod's
//! successor with a new spool), one is listed: two targets under the same labels would contradict each other in `up`.
//!
//! The target is what the caller reached us by, the `Host` header, since only the caller knows which of our addresses
//! it can reach; the answer goes to nobody else and is not cached.

use super::Shared;
use crate::live::{Agent, State as AgentState, is_reported};
use axum::Json;
use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Every target.
pub(super) async fn targets(State(service): State<Shared>, uri: Uri, headers: HeaderMap) -> Json<Vec<Value>> {
    let pages = &service.pages;
    let target = reached_by(&uri, &headers).unwrap_or_else(|| fallback(pages.listen));
    let now = pages.clock.monotonic();
    let agents = pages.live.pick_agents(|agent| is_reported(agent, now).then(|| agent.clone()));
    let listed = one_of_each_name(agents.iter(), now);
    Json(listed.into_iter().map(|agent| json!({"targets": [target], "labels": labels(agent)})).collect())
}

/// For each name the agent that is up, else the one seen last.
fn one_of_each_name<'a>(agents: impl Iterator<Item = &'a Agent>, now: Duration) -> Vec<&'a Agent> {
    let mut named = BTreeMap::new();
    for agent in agents {
        let rank = |agent: &Agent| (agent.state == AgentState::Up, Reverse(agent.gone_for(now)));
        let name = (&agent.row.service, &agent.row.instance, agent.row.clinic_id);
        let listed = named.entry(name).or_insert(agent);
        if rank(agent) > rank(listed) {
            *listed = agent;
        }
    }
    named.into_values().collect()
}

fn labels(agent: &Agent) -> Map<String, Value> {
    let row = &agent.row;
    let mut labels = Map::new();
    let mut set = |name: &str, value: &str| drop(labels.insert(name.into(), value.into()));
    set("__metrics_path__", &format!("/agents/{}/metrics", row.agent_id));
    set("__meta_atendeai_agent_id", &row.agent_id.to_string());
    set("__meta_atendeai_service", &row.service);
    set("__meta_atendeai_instance", &row.instance);
    if let Some(clinic_id) = row.clinic_id {
        set("__meta_atendeai_clinic_id", &clinic_id.to_string());
    }
    set("instance", &row.instance);
    set("job", &row.service);
    labels
}

/// The host and port that the request was sent to; `None` where it does not say, or says two, or no host at all.
fn reached_by(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let said = match (uri.authority(), hosts.next(), hosts.next()) {
        (Some(authority), _, _) => authority.as_str(),
        (None, Some(host), None) => host.to_str().ok()?,
        _ => return None,
    };
    let authority: Authority = said.parse().ok()?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let named = !authority.host().is_empty() && authority.as_str().chars().all(legal);
    named.then(|| authority.as_str().to_owned())
}

/// Our own address, where the request does not say.
fn fallback(listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() { format!("localhost:{}", listen.port()) } else { listen.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with_hosts(hosts: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_static(host));
        }
        reached_by(&Uri::from_static("/sd"), &headers)
    }

    #[test]
    fn a_target_is_the_host_that_was_asked_unless_it_is_no_host() {
        for host in ["mon.interno:9464", "mon.interno", "10.0.0.1:80", "[::1]:7480", "my_host:1"] {
            assert_eq!(with_hosts(&[host]).as_deref(), Some(host));
        }
        for refused in ["user@mon", "mon/../x", "", "a b", "mon:80\",\"x", ":80", "{x}"] {
            assert_eq!(with_hosts(&[refused]), None, "{refused:?}");
        }
        assert_eq!(with_hosts(&["a", "b"]), None, "two hosts");
        assert_eq!(with_hosts(&[]), None);
    }

    #[test]
    fn without_a_host_the_listen_address_stands_in() {
        assert_eq!(fallback(SocketAddr::from(([0, 0, 0, 0], 7480))), "localhost:7480");
        assert_eq!(fallback(SocketAddr::from(([10, 0, 0, 1], 7480))), "10.0.0.1:7480");
    }
}
