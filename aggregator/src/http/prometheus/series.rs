//! Which series there are: `/api/v1/labels`, `label/{name}/values`, `series`, `metadata`, `status/tsdb`.
//!
//! Grafana's explorer asks `match[]={__name__!=""}` for "everything", and times of the panel: both are answered from the
//! names, without reading samples.

use super::envelope::{ApiError, Kind, Reply};
use super::form::Form;
use super::json::push_labels;
use super::query::QUERY_MAX;
use crate::http::Shared;
use crate::http::aside::aside;
use crate::query::{LiveSelect, Stretch, label_set};
use axum::extract::{Path, State};
use promql::{LabelSet, METRIC_NAME, SeriesSelector};
use proto::catalog::{self, family_of};
use proto::sample::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What `status/tsdb` lists of each, where it does not say; and at the most.
const TOP: usize = 10;
const TOP_MAX: usize = 10_000;
/// Said where a list is not whole.
const TRUNCATED: &str = "results truncated due to limit";
/// How clients write a label name that is not an old one: `U__` and each foreign character as `_HEX_`.
const ESCAPED: &str = "U__";

/// Label names.
pub(super) async fn labels(State(service): State<Shared>, form: Form) -> Result<Reply, ApiError> {
    let (asked, limit) = (Asked::read(&form)?, form.limit("limit")?);
    walk(service, move |service| {
        let mut names = BTreeSet::new();
        asked.each(service, &mut |labels| names.extend(labels.iter().map(|(name, _)| name.to_owned())));
        list(names, limit)
    })
    .await
}

/// The values of a label.
pub(super) async fn label_values(
    State(service): State<Shared>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Reply, ApiError> {
    let name = unescaped(&name);
    if name.is_empty() {
        return Err(ApiError::new(Kind::BadData, format!("invalid label name: {name:?}")));
    }
    let (asked, limit) = (Asked::read(&form)?, form.limit("limit")?);
    walk(service, move |service| {
        let mut values = BTreeSet::new();
        asked.each(service, &mut |labels| {
            let value = labels.get(&name);
            if !value.is_empty() && !values.contains(value) {
                values.insert(value.to_owned());
            }
        });
        list(values, limit)
    })
    .await
}

/// The labels of each series that one of the selectors finds.
pub(super) async fn series(State(service): State<Shared>, form: Form) -> Result<Reply, ApiError> {
    let (asked, limit) = (Asked::read(&form)?, form.limit("limit")?);
    if asked.selectors.is_empty() {
        return Err(ApiError::new(Kind::BadData, "no match[] parameter provided"));
    }
    walk(service, move |service| {
        let mut found = BTreeSet::new();
        asked.each(service, &mut |labels| {
            found.insert(labels.clone());
        });
        let mut data = String::from("[");
        let most = limit.unwrap_or(usize::MAX);
        for (index, labels) in found.iter().take(most).enumerate() {
            data.push_str(if index == 0 { "" } else { "," });
            push_labels(&mut data, labels);
        }
        data.push(']');
        Reply { data, warnings: truncated(found.len() > most), infos: Vec::new() }
    })
    .await
}

/// What the metrics mean: of the series there are, those that the catalog knows, and the kind of the others.
pub(super) async fn metadata(State(service): State<Shared>, form: Form) -> Result<Reply, ApiError> {
    let (limit, wanted) = (form.limit("limit")?, form.text("metric").map(str::to_owned));
    let asked = Asked::everything(&form)?;
    walk(service, move |service| {
        let mut told: BTreeMap<String, Value> = BTreeMap::new();
        LiveSelect { live: &service.pages.live, scope: asked.scope }.series(&[], asked.stretch, &mut |series| {
            let name = series.key().name.as_str();
            let family = if catalog::find(name).is_some() { name } else { family_of(name) };
            if !told.contains_key(family) && wanted.as_deref().is_none_or(|wanted| wanted == family) {
                let row = catalog::find(family);
                let kind = row.map_or(series.kind(), |row| row.kind).as_str();
                let (help, unit) = row.map_or(("", ""), |row| (row.help, row.unit));
                told.insert(family.to_owned(), json!([{"type": kind, "help": help, "unit": unit}]));
            }
        });
        let kept: Map<String, Value> = told.into_iter().take(limit.unwrap_or(usize::MAX)).collect();
        Reply::of(&Value::Object(kept))
    })
    .await
}

/// How many series there are, and what has most of them.
pub(super) async fn status(State(service): State<Shared>, form: Form) -> Result<Reply, ApiError> {
    let limit = form.limit("limit")?.unwrap_or(TOP);
    if limit > TOP_MAX {
        return Err(ApiError::new(Kind::BadData, format!("limit must be at most {TOP_MAX}")));
    }
    let asked = Asked::everything(&form)?;
    walk(service, move |service| {
        let mut census = Census::default();
        asked.each(service, &mut |labels| census.count(labels));
        let data = census.to_json(service.pages.live.read(tsdb::Head::times), limit);
        Reply::of(&data)
    })
    .await
}

// === what is asked ===

/// Selectors and times of one request.
struct Asked {
    selectors: Vec<SeriesSelector>,
    stretch: Stretch,
    scope: crate::store::Scope,
}

impl Asked {
    fn read(form: &Form) -> Result<Self, ApiError> {
        Ok(Self { selectors: form.selectors()?, ..Self::everything(form)? })
    }

    fn everything(form: &Form) -> Result<Self, ApiError> {
        let (start, end) = (form.time("start")?, form.time("end")?);
        let stretch = Stretch {
            start: start.unwrap_or(Timestamp::from_millis(i64::MIN)),
            end: end.unwrap_or(Timestamp::from_millis(i64::MAX)),
        };
        if stretch.end < stretch.start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        Ok(Self { selectors: Vec::new(), stretch, scope: form.scope()? })
    }

    fn each(&self, service: &Shared, each: &mut dyn FnMut(&LabelSet)) {
        let source = LiveSelect { live: &service.pages.live, scope: self.scope };
        source.series(&self.selectors, self.stretch, &mut |series| each(&label_set(series.key())));
    }
}

// === what is answered ===

/// Does `work`, which walks over the series, when its turn comes, on a thread that may block; the turn ends with it.
async fn walk(service: Shared, work: impl FnOnce(&Shared) -> Reply + Send + 'static) -> Result<Reply, ApiError> {
    let place = service.turns.take(QUERY_MAX).await?;
    let done = aside(move || {
        let _place = place;
        work(&service)
    });
    done.await.map_err(|_| ApiError::new(Kind::Internal, "the series could not be listed, through a fault of ours"))
}

fn list(found: BTreeSet<String>, limit: Option<usize>) -> Reply {
    let most = limit.unwrap_or(usize::MAX);
    let warnings = truncated(found.len() > most);
    let kept: Vec<String> = found.into_iter().take(most).collect();
    Reply { warnings, ..Reply::of(&json!(kept)) }
}

fn truncated(is_truncated: bool) -> Vec<String> {
    if is_truncated { vec![TRUNCATED.to_owned()] } else { Vec::new() }
}

/// `U__http_2e_status` is `http.status`; what is not escaped, or wrongly, is taken as it is.
fn unescaped(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix(ESCAPED) else { return name.to_owned() };
    let mut plain = String::new();
    while let Some(at) = rest.find('_') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            plain.push('_');
            rest = after;
            continue;
        }
        let hex = rest.split_once('_').and_then(|(hex, after)| {
            let code = u32::from_str_radix(hex, 16).ok().filter(|_| (1..=6).contains(&hex.len()))?;
            Some((char::from_u32(code)?, after))
        });
        let Some((character, after)) = hex else { return name.to_owned() };
        plain.push(character);
        rest = after;
    }
    plain.push_str(rest);
    plain
}

/// Counts series by what they have.
#[derive(Default)]
struct Census {
    series: usize,
    by_metric: HashMap<String, usize>,
    /// By label: its values, and how many series have each.
    by_label: HashMap<String, HashMap<String, usize>>,
}

impl Census {
    fn count(&mut self, labels: &LabelSet) {
        self.series += 1;
        *self.by_metric.entry(labels.name().to_owned()).or_default() += 1;
        for (name, value) in labels.iter() {
            let values = self.by_label.entry(name.to_owned()).or_default();
            *values.entry(value.to_owned()).or_default() += 1;
        }
    }

    fn to_json(&self, times: Option<(Timestamp, Timestamp)>, limit: usize) -> Value {
        let labels = || self.by_label.iter();
        let bytes = |values: &HashMap<String, usize>| values.keys().map(String::len).sum::<usize>();
        let pairs = labels()
            .flat_map(|(name, values)| values.iter().map(move |(value, count)| (format!("{name}={value}"), *count)));
        json!({
            "headStats": {
                "numSeries": self.series,
                "numLabelPairs": labels().map(|(_, values)| values.len()).sum::<usize>(),
                "chunkCount": self.series,
                "minTime": times.map_or(0, |(first, _)| first.as_millis()),
                "maxTime": times.map_or(0, |(_, last)| last.as_millis()),
            },
            "seriesCountByMetricName": top(self.by_metric.iter().map(|(name, count)| (name.clone(), *count)), limit),
            "labelValueCountByLabelName": top(labels().map(|(name, values)| (name.clone(), values.len())), limit),
            "memoryInBytesByLabelName": top(labels().map(|(name, values)| (name.clone(), bytes(values))), limit),
            "seriesCountByLabelValuePair": top(pairs.filter(|(pair, _)| !pair.starts_with(METRIC_NAME)), limit),
        })
    }
}

/// The largest, and among equals by name.
fn top(counted: impl Iterator<Item = (String, usize)>, limit: usize) -> Value {
    let mut counted: Vec<(String, usize)> = counted.collect();
    counted.sort_unstable_by(|(name, count), (other, more)| more.cmp(count).then_with(|| name.cmp(other)));
    counted.truncate(limit);
    counted.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_label_name_is_read_and_a_broken_escape_is_a_name() {
        for (text, wanted) in [
            ("service", "service"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U___e9_", "é"),
            ("U__a_zz_b", "U__a_zz_b"),
            ("U__a_2e", "U__a_2e"),
        ] {
            assert_eq!(unescaped(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_census_lists_the_largest_first() {
        let mut census = Census::default();
        for (name, zone) in [("a", "x"), ("a", "y"), ("b", "x")] {
            census.count(&LabelSet::from_pairs([("__name__", name), ("zone", zone)]));
        }
        let told = census.to_json(None, 1);
        assert_eq!(told["headStats"]["numSeries"], 3);
        assert_eq!(told["headStats"]["numLabelPairs"], 4);
        assert_eq!(told["seriesCountByMetricName"], json!([{"name": "a", "value": 2}]));
        assert_eq!(told["seriesCountByLabelValuePair"], json!([{"name": "zone=x", "value": 2}]));
    }
}
