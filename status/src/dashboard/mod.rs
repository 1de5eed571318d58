//! The dashboard: pages for people below `/_deploy/`, made here and whole without a script; one small
//! script keeps them up to date.
//!
//! `known` is what is looked up of one environment, `card` how it stands, `line` a row of the history, `promotion` what waits for it, `proof` a
//! verification, `chart` a picture of durations, `uptime` one of what a watch has seen, `moment` times in words.

mod card;
mod chart;
mod known;
mod line;
mod moment;
mod promotion;
mod proof;
mod uptime;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use common::layout::Place;
use common::ledger::Selection;
use common::report::{Problem, now};

use crate::arguments::state;
use crate::facts::Migrations;
use crate::serving::{Asked, Cursor, Refusal, Server, View, aside, broken, shown};
use card::Card;
use chart::Chart;
use known::known;
use line::{Line, StepLine};
use promotion::Promotion;
use proof::Proof;
use uptime::Uptime;

const SCRIPT: &str = include_str!("assets/script.js");
const STYLE: &str = include_str!("assets/style.css");
const ICON: &str = include_str!("assets/icon.svg");
/// A browser may keep them until the next version of the tools.
const LASTS: &str = "private, max-age=300";
const ROWS: u32 = 15;

type Page = Result<Response, Refusal>;

/// What every page shows.
struct Frame {
    app: String,
    names: Vec<String>,
    /// The environment that the page is about; empty on the first page.
    here: String,
    /// Where the stream of events begins that continues this page; none for who may not listen.
    cursor: Option<String>,
    at: moment::Moment,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    cards: Vec<Card>,
    promotions: Vec<Promotion>,
    lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "environment.html")]
struct Environment {
    frame: Frame,
    card: Card,
    promotions: Vec<Promotion>,
    uptime: Option<Uptime>,
    errors: Vec<line::ErrorLine>,
    chart: Option<Chart>,
    proof: Option<Proof>,
    migrations: Migrations,
    backups: Vec<line::BackupLine>,
    states: Vec<(&'static str, bool)>,
    lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "deployment.html")]
struct OneDeployment {
    frame: Frame,
    line: Line,
    steps: Vec<StepLine>,
    proof: Option<Proof>,
    log: Option<String>,
}

/// The other pages and what they load, below `/_deploy`.
pub(crate) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/view/{environment}", get(environment))
        .route("/view/{environment}/{id}", get(deployment))
        .route("/view/{environment}/{id}/{picture}", get(picture))
        .route("/assets/script.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/assets/style.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/assets/icon.svg", get(|| async { asset("image/svg+xml", ICON) }))
}

/// For who leaves the last stroke out.
pub(crate) async fn lead_there() -> Redirect {
    Redirect::permanent("/_deploy/")
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, LASTS)], text).into_response()
}

/// The first page.
pub(crate) async fn overview(extract::State(server): extract::State<Arc<Server>>, asked: Asked) -> Page {
    let view = asked.of("dashboard", &[])?;
    let cursor = cursor(&server, &asked, view).await?;
    let snapshot = server.snapshot().await.map_err(|problem| broken(&problem, view))?;
    let (names, config) = (asked.names.clone(), asked.setting.config.clone());
    let found = server.ask(move |ledger| {
        let Some(ledger) = ledger else { return Ok((Vec::new(), Vec::new())) };
        let mut rows = Vec::new();
        for name in &names {
            rows.extend(ledger.history(name, &Selection::newest(ROWS))?);
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.number));
        rows.truncate(ROWS as usize);
        let is_full = view == View::Full;
        Ok((rows, if is_full { promotion::gaps(&config, ledger, &names)? } else { Vec::new() }))
    });
    let (rows, gaps) = found.await.map_err(|problem| broken(&problem, view))?;
    let config = asked.setting.config.clone();
    let promotions = aside(move || promotion::all(&config, gaps)).await;
    show(&Overview {
        frame: frame(&asked, snapshot.at, cursor),
        cards: snapshot.of(&asked.names).map(|seen| Card::of(seen, view)).collect(),
        promotions: promotions.map_err(|problem| broken(&problem, view))?,
        lines: rows.iter().map(|row| Line::of(row, view)).collect(),
    })
}

async fn environment(extract::State(server): extract::State<Arc<Server>>, asked: Asked) -> Page {
    let view = asked.of("dashboard", &["state"])?;
    let name = asked.part("environment").to_owned();
    let choice = |word: &str| if word.is_empty() { Ok(None) } else { state(word).map(Some) };
    let wanted = asked.parameter("state", choice)?.flatten();
    let cursor = cursor(&server, &asked, view).await?;
    let snapshot = server.snapshot().await.map_err(|problem| broken(&problem, view))?;
    let seen = snapshot.of(&asked.names).next().ok_or_else(|| Refusal::no_environment(&name))?;
    let setting = Arc::clone(&asked.setting);
    let known =
        known(&server, setting, name, wanted, view).await.map_err(|problem| broken(&problem, view))?;
    show(&Environment {
        frame: frame(&asked, snapshot.at, cursor),
        card: Card::of(seen, view),
        promotions: known.promotions,
        errors: known
            .told
            .errors
            .iter()
            .map(|(release, group)| line::ErrorLine::of(release, group))
            .collect(),
        chart: Chart::of(&known.told.all),
        proof: known.proof,
        migrations: seen.facts.migrations.clone(),
        backups: known.kept.iter().map(line::BackupLine::of).collect(),
        states: line::choices(wanted),
        lines: known.told.rows.iter().map(|row| Line::of(row, view)).collect(),
        uptime: known.told.uptime,
    })
}

async fn deployment(extract::State(server): extract::State<Arc<Server>>, asked: Asked) -> Page {
    let view = asked.of("dashboard", &[])?;
    let cursor = cursor(&server, &asked, view).await?;
    let shown = shown(&server, &asked, view).await?;
    let proof = match view {
        View::Public => None,
        View::Full => {
            let (id, place) =
                (shown.row.id.clone(), Place::new(&asked.setting.config, &shown.row.environment));
            let report = server.ask(move |ledger| {
                Ok(ledger.map(|ledger| ledger.verification_report(&id)).transpose()?.flatten())
            });
            let report = report.await.map_err(|problem| broken(&problem, view))?;
            let id = shown.row.id.clone();
            let proof = aside(move || Proof::of(&place, &id, report.as_ref())).await;
            proof.map_err(|problem| broken(&problem, view))?
        }
    };
    show(&OneDeployment {
        frame: frame(&asked, now(), cursor),
        line: Line::of(&shown.row, view),
        steps: StepLine::all(&shown.steps, view),
        proof,
        log: shown.log,
    })
}

/// A screenshot of a verification, for who may see everything.
async fn picture(asked: Asked) -> Page {
    if asked.of("dashboard", &[])? != View::Full {
        return Err(Refusal::nothing());
    }
    let place = Place::new(&asked.setting.config, asked.part("environment"));
    let (id, name) = (asked.part("id").to_owned(), asked.part("picture").to_owned());
    let found = aside(move || proof::picture(&place, &id, &name));
    let bytes = found.await.map_err(|problem| broken(&problem, View::Full))?.ok_or_else(Refusal::nothing)?;
    Ok(([(CONTENT_TYPE, "image/png"), (CACHE_CONTROL, LASTS)], bytes).into_response())
}

/// Where the stream begins that continues a page, asked before anything that the page shows.
async fn cursor(server: &Arc<Server>, asked: &Asked, view: View) -> Result<Option<String>, Refusal> {
    if asked.caller.view("events", &asked.setting).is_err() {
        return Ok(None);
    }
    let listened = asked.names.clone();
    let cursor = server.ask(move |ledger| Cursor::now(ledger, &listened)).await;
    cursor.map(|cursor| Some(cursor.to_string())).map_err(|problem| broken(&problem, view))
}

fn frame(asked: &Asked, at: jiff::Timestamp, cursor: Option<String>) -> Frame {
    let names = if asked.caller.is_trusted { asked.setting.names() } else { asked.names.clone() };
    Frame {
        app: asked.setting.config.app.name.clone(),
        names,
        here: asked.part("environment").to_owned(),
        cursor,
        at: moment::Moment::at(at),
    }
}

fn show(page: &impl Template) -> Page {
    let text = page.render().map_err(|error| {
        broken(&Problem::new("status-broken", "a page cannot be made").detail(error.to_string()), View::Full)
    })?;
    Ok(Html(text).into_response())
}
