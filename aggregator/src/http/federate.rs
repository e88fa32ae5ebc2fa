//! `/federate`: the newest sample of each series that a selector finds, with its time, for another Prometheus.
//!
//! As Prometheus does it (`web/federate.go`): several selectors are one set, none is an empty page; a series whose newest
//! sample is the staleness marker, or older than the lookback, is left out; no kind is told; a series without `instance` gets
//! an empty one, so that `honor_labels` does not invent it.

use super::Shared;
use super::aside::aside;
use super::prometheus::envelope::ApiError;
use super::prometheus::form::Form;
use super::prometheus::query::QUERY_MAX;
use crate::query::LiveSelect;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use promql::{LOOKBACK, LabelSet, METRIC_NAME, Reads, Select, Selection, SeriesSelector};
use proto::exposition::{Encoder, Format};
use proto::sample::{Timestamp, is_stale};
use std::collections::BTreeMap;
use std::iter::once;
use std::ops::ControlFlow;

/// Series by their labels, which are ordered by name, with the newest sample of each.
type Newest = BTreeMap<(String, LabelSet), (i64, f64)>;

/// The page.
pub(super) async fn page(State(service): State<Shared>, form: Form) -> Result<Response, ApiError> {
    let selectors = form.selectors()?;
    let scope = form.scope()?;
    let place = service.turns.take(QUERY_MAX).await?;
    let written = aside(move || {
        let _place = place;
        let source = LiveSelect { live: &service.pages.live, scope };
        let (mut newest, now) = (Newest::new(), service.pages.clock.wall());
        for selector in &selectors {
            select(&source, selector, now, &mut newest);
        }
        write(&newest)
    });
    let page = written.await.map_err(IntoResponse::into_response);
    Ok(page.map_or_else(
        |refused| refused,
        |page| ([(header::CONTENT_TYPE, Format::Text.content_type())], page).into_response(),
    ))
}

fn select(source: &LiveSelect<'_>, selector: &SeriesSelector, now: Timestamp, newest: &mut Newest) {
    let selection = Selection {
        name: selector.name(),
        matchers: selector.matchers(),
        after: now - LOOKBACK,
        until: now,
        reads: Reads::Newest { from: now },
    };
    let each = &mut |labels: &LabelSet, samples: promql::Samples<'_>| {
        if let Some((at, value)) =
            samples.times.last().zip(samples.values.last()).filter(|(_, value)| !is_stale(**value))
        {
            newest.insert((labels.name().to_owned(), labels.clone()), (*at, *value));
        }
        ControlFlow::Continue(())
    };
    if let Err(never) = source.select(&selection, each) {
        tracing::error!(error = %never, "series in memory not read");
    }
}

fn write(newest: &Newest) -> String {
    let mut encoder = Encoder::new(Format::Text);
    let mut last = "";
    for ((name, labels), (at, value)) in newest {
        if name != last {
            encoder.untyped(name);
            last = name;
        }
        let own = || labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let without = own().all(|(name, _)| name != "instance");
        let instance = once(("instance", "")).filter(|_| without);
        encoder.sample_at(name, own().chain(instance), *value, Timestamp::from_millis(*at));
    }
    encoder.finish()
}
