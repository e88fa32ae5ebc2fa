//! `/api/agents`: every known agent, those that stopped included.

use super::Shared;
use super::params::Given;
use super::problem::Problem;
use crate::live::Agent;
use axum::Json;
use axum::extract::State;
use proto::sample::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// All agents, ordered by id.
pub(super) async fn list(State(service): State<Shared>, given: Given) -> Result<Json<Value>, Problem> {
    let scope = given.only(&["clinic_id"])?.scope()?;
    let agents = service.pages.live.agents();
    let clinic = |agent: &Agent| agent.row.clinic_id.map(|id| id.to_string());
    let clocks = (service.pages.clock.wall(), service.pages.clock.monotonic());
    let within = agents.iter().filter(|agent| scope.admits(clinic(agent).as_deref()));
    let listed: Vec<Value> = within.map(|agent| to_json(agent, clocks)).collect();
    Ok(Json(json!({"agents": listed})))
}

fn to_json(agent: &Agent, (wall, now): (Timestamp, Duration)) -> Value {
    let row = &agent.row;
    // An epoch has 128 bits, more than a JSON number can hold.
    let position = row.position.map(|at| json!({"epoch": format!("{:032x}", at.epoch), "seq": at.seq}));
    json!({
        "id": row.agent_id,
        "service": row.service,
        "instance": row.instance,
        "clinic_id": row.clinic_id,
        "state": agent.state.as_str(),
        "version": row.agent_version,
        "interval_seconds": row.interval.as_secs_f64(),
        "first_seen": rfc3339(row.first_seen),
        "last_seen": rfc3339(row.last_seen),
        "stopped_at": row.stopped_at.map(rfc3339),
        "clock_offset_seconds": agent.clock.ahead_ms(wall, now).map(|ahead_ms| ahead_ms as f64 / 1000.0),
        "position": position,
    })
}

/// A time as people and programs read it; `None` where it lies outside of the calendar.
pub(super) fn rfc3339(at: Timestamp) -> Option<String> {
    jiff::Timestamp::from_millisecond(at.as_millis()).ok().map(|at| at.to_string())
}
