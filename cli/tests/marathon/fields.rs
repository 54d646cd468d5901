//! Every field of apps and pods: what is shown where it is left out, that what is given is kept, and
//! which values are refused. The tables in `fields/` say it field by field.

mod table;

use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use table::{Block, Kind, Row, Shown};

use crate::cluster::{Answer, Cluster};

/// Requests under way at once: the order of the rows means nothing.
const AT_ONCE: usize = 8;

#[tokio::test]
async fn every_field_of_an_app_has_its_default_is_kept_and_is_checked() {
    check("fields/apps.txt", include_str!("fields/apps.txt")).await;
}

/// Asks for all that a table says, and tells of every row that does not hold.
async fn check(name: &str, text: &str) {
    let asking = Asking { cluster: Cluster::start().await, asked: AtomicU32::new(0) };
    let blocks = table::read(name, text);
    let mut wrong = Vec::new();
    for block in &blocks {
        let shown = asking.shown_of(block.kind, &block.body).await;
        let rows = stream::iter(&block.rows).map(|row| asking.row(block, row, &shown));
        let found: Vec<_> = rows.buffer_unordered(AT_ONCE).collect().await;
        wrong.extend(found.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{} rows do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

struct Asking {
    cluster: Cluster,
    asked: AtomicU32,
}

impl Asking {
    /// What does not hold of a row. `shown` is what became of the body of its block.
    async fn row(&self, block: &Block, row: &Row, shown: &Result<Value, String>) -> Vec<String> {
        let mut wrong = Vec::new();
        match shown {
            Ok(shown) => {
                let default = row.default.as_ref();
                wrong.extend(default.and_then(|it| differs(shown, &row.path, it)));
            }
            Err(why) => wrong.push(why.clone()),
        }
        for (value, wanted) in &row.kept {
            let body = table::with(&block.body, &row.path, Some(value));
            match self.shown_of(block.kind, &body).await {
                Ok(_) if row.path == "/" => {}
                Ok(shown) => wrong.extend(differs(&shown, &row.path, wanted)),
                Err(why) => wrong.push(format!("{value}: {why}")),
            }
        }
        for refused in &row.refused {
            let body = table::with(&block.body, &row.path, refused.value.as_ref());
            let answer = self.create(block.kind, &body).await.1;
            let refusal = is_refusal(&answer, refused.status, &refused.path);
            wrong.extend(refusal.err().map(|why| format!("{:?}: {why}", refused.value)));
        }
        if let Some(other) = of_another_type(row) {
            let body = table::with(&block.body, &row.path, Some(&other));
            let answer = self.create(block.kind, &body).await.1;
            let refusal = is_refusal(&answer, 400, &row.path);
            wrong.extend(refusal.err().map(|why| format!("{other}: {why}")));
        }
        wrong.into_iter().map(|why| format!("{} {}: {why}", row.place, row.path)).collect()
    }

    /// Creates it without an instance, under an id of its own.
    async fn create(&self, kind: Kind, body: &Value) -> (String, Answer) {
        let id = format!("/of-fields/{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let mut body = body.clone();
        if body.get("id").is_none() {
            body["id"] = id.clone().into();
        }
        let path = match kind {
            Kind::App => {
                if body.get("instances").is_none() {
                    body["instances"] = 0.into();
                }
                "/v2/apps"
            }
            Kind::Pod => {
                if body.get("scaling").is_none() {
                    body["scaling"] = json!({"kind": "fixed", "instances": 0});
                }
                "/v2/pods"
            }
        };
        (id, self.cluster.send(Method::POST, path, &body).await)
    }

    /// What a GET shows of what was created.
    async fn shown_of(&self, kind: Kind, body: &Value) -> Result<Value, String> {
        let (id, (status, answer)) = self.create(kind, body).await;
        if status != 201 {
            return Err(format!("is refused: {status} {answer}"));
        }
        let id = answer["id"].as_str().unwrap_or(&id);
        let path = match kind {
            Kind::App => format!("/v2/apps{id}"),
            Kind::Pod => format!("/v2/pods{id}"),
        };
        let mut shown = self.cluster.json(&path).await.ok_or("is not there when asked for")?;
        Ok(if let Kind::App = kind { shown["app"].take() } else { shown })
    }
}

/// How `shown` differs from what is wanted at `path`.
fn differs(shown: &Value, path: &str, wanted: &Shown) -> Option<String> {
    let found = table::at(shown, path);
    let is_as_wanted = match wanted {
        Shown::Nothing => found.is_none(),
        Shown::Anything => found.is_some(),
        Shown::Is(value) => found == Some(value),
    };
    (!is_as_wanted).then(|| {
        let found = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
        format!("shows {found}, not {wanted:?}")
    })
}

/// Whether an answer refuses something at `path`, as Marathon's do.
fn is_refusal((status, body): &Answer, wanted: u16, path: &str) -> Result<(), String> {
    let message = if wanted == 400 { "Invalid JSON" } else { "Object is not valid" };
    let details = body["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_told = details.iter().any(|one| {
        let errors = one["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        one["path"] == path && errors.first().is_some_and(Value::is_string)
    });
    if *status == wanted && body["message"] == message && is_told {
        return Ok(());
    }
    let body = if *status == 201 { "it is created".to_owned() } else { body.to_string() };
    Err(format!("is to be refused with {wanted} at {path}, but {status}: {body}"))
}

/// A value whose type none of those has that are kept.
fn of_another_type(row: &Row) -> Option<Value> {
    let is_kept = |other: &Value| {
        row.kept
            .iter()
            .any(|(kept, _)| std::mem::discriminant(kept) == std::mem::discriminant(other))
    };
    let is_field = row.path != "/" && !row.kept.is_empty();
    let mut others = [json!("7"), json!(7), json!({"0": 7})].into_iter();
    others.find(|other| !is_kept(other)).filter(|_| is_field)
}
