//! The dashboard: pages for people below `/_deploy/`, made here and whole without a script; one small
//! script keeps them up to date.
//!
//! `card` is one environment, `line` a row of the history, `promotion` what waits for it, `proof` a
//! verification, `chart` a picture of durations, `uptime` one of what a watch has seen, `moment` times in words.

mod card;
mod chart;
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
use common::backups::{self, Backup};
use common::config::Config;
use common::layout::Place;
use common::ledger::{Deployment, Ledger, Seen, Selection, State};
use common::report::Problem;

use crate::arguments::state;
use crate::facts::Migrations;
use crate::serving::{Asked, Cursor, Refusal, Server, View, broken, shown};
use card::Card;
use chart::Chart;
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
const ROWS_OF_ONE: u32 = 50;

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
        Ok((rows, promotion::all(&config, ledger, &names)?))
    });
    let (rows, promotions) = found.await.map_err(|problem| broken(&problem, view))?;
    let frame = frame(&server, &asked, view, snapshot.at).await?;
    let cards = snapshot.of(&asked.names).map(|seen| Card::of(seen, view)).collect();
    let lines = rows.iter().map(|row| Line::of(row, view)).collect();
    show(&Overview {
        frame,
        cards,
        promotions: promotions.into_iter().filter(|_| view == View::Full).collect(),
        lines,
    })
}

/// What the ledger and the state directory know of one environment.
#[derive(Default)]
struct Known {
    rows: Vec<Deployment>,
    all: Vec<Deployment>,
    promotions: Vec<Promotion>,
    proof: Option<Proof>,
    uptime: Option<Uptime>,
    errors: Vec<Seen>,
    kept: Vec<Backup>,
}

impl Known {
    fn read(
        config: &Config,
        ledger: Option<&Ledger>,
        name: &str,
        wanted: Option<State>,
    ) -> Result<Self, Problem> {
        let place = Place::new(config, name);
        let kept = backups::list(&place)?.backups;
        let Some(ledger) = ledger else { return Ok(Self { kept, ..Self::default() }) };
        let serving = ledger.serving(name)?;
        let report = serving.as_ref().map(|row| ledger.verification_report(&row.id)).transpose()?.flatten();
        let selection = Selection { state: wanted, since_ms: None, limit: ROWS_OF_ONE };
        Ok(Self {
            rows: ledger.history(name, &selection)?,
            all: ledger.history(name, &Selection::newest(ROWS_OF_ONE))?,
            promotions: promotion::all(config, ledger, &[name.to_owned()])?,
            proof: serving.and_then(|row| Proof::of(&place, &row.id, report.as_ref())),
            uptime: Uptime::of(ledger, name)?,
            errors: ledger.last_errors(name, ROWS)?,
            kept,
        })
    }
}

async fn environment(extract::State(server): extract::State<Arc<Server>>, asked: Asked) -> Page {
    let view = asked.of("dashboard", &["state"])?;
    let name = asked.part("environment").to_owned();
    let choice = |word: &str| if word.is_empty() { Ok(None) } else { state(word).map(Some) };
    let wanted = asked.parameter("state", choice)?.flatten();
    let snapshot = server.snapshot().await.map_err(|problem| broken(&problem, view))?;
    let seen = snapshot.of(&asked.names).next().ok_or_else(|| Refusal::no_environment(&name))?;
    let (config, frame) = (asked.setting.config.clone(), frame(&server, &asked, view, snapshot.at).await?);
    let found = server.ask(move |ledger| Known::read(&config, ledger, &name, wanted));
    let mut known = found.await.map_err(|problem| broken(&problem, view))?;
    if view == View::Public {
        // What is waited for, found and kept is for those who work on it.
        known = Known { rows: known.rows, all: known.all, uptime: known.uptime, ..Known::default() };
    }
    show(&Environment {
        frame,
        card: Card::of(seen, view),
        promotions: known.promotions,
        uptime: known.uptime,
        errors: known.errors.iter().map(line::ErrorLine::of).collect(),
        chart: Chart::of(&known.all),
        proof: known.proof,
        migrations: seen.facts.migrations.clone(),
        backups: known.kept.iter().map(line::BackupLine::of).collect(),
        states: line::choices(wanted),
        lines: known.rows.iter().map(|row| Line::of(row, view)).collect(),
    })
}

async fn deployment(extract::State(server): extract::State<Arc<Server>>, asked: Asked) -> Page {
    let view = asked.of("dashboard", &[])?;
    let shown = shown(&server, &asked, view).await?;
    let snapshot = server.snapshot().await.map_err(|problem| broken(&problem, view))?;
    let frame = frame(&server, &asked, view, snapshot.at).await?;
    let (row, place) = (shown.row.clone(), Place::new(&asked.setting.config, &shown.row.environment));
    let found = server.ask(move |ledger| {
        let report = ledger.map(|ledger| ledger.verification_report(&row.id)).transpose()?.flatten();
        Ok(Proof::of(&place, &row.id, report.as_ref()))
    });
    let proof = found.await.map_err(|problem| broken(&problem, view))?;
    show(&OneDeployment {
        frame,
        line: Line::of(&shown.row, view),
        steps: StepLine::all(&shown.steps, view),
        proof: proof.filter(|_| view == View::Full),
        log: shown.log,
    })
}

/// A screenshot of a verification, for who may see everything.
async fn picture(extract::State(server): extract::State<Arc<Server>>, asked: Asked) -> Page {
    if asked.of("dashboard", &[])? != View::Full {
        return Err(Refusal::nothing());
    }
    let place = Place::new(&asked.setting.config, asked.part("environment"));
    let (id, name) = (asked.part("id").to_owned(), asked.part("picture").to_owned());
    let found = server.ask(move |_| Ok(proof::picture(&place, &id, &name)));
    let bytes = found.await.map_err(|problem| broken(&problem, View::Full))?.ok_or_else(Refusal::nothing)?;
    Ok(([(CONTENT_TYPE, "image/png"), (CACHE_CONTROL, LASTS)], bytes).into_response())
}

async fn frame(
    server: &Arc<Server>,
    asked: &Asked,
    view: View,
    at: jiff::Timestamp,
) -> Result<Frame, Refusal> {
    let config = &asked.setting.config;
    let names: Vec<String> =
        if asked.caller.is_trusted { asked.setting.names() } else { asked.names.clone() };
    let may_listen = asked.caller.view("events", &asked.setting).is_ok();
    let listened = asked.names.clone();
    let cursor = server.ask(move |ledger| Cursor::now(ledger, &listened));
    let cursor = cursor.await.map_err(|problem| broken(&problem, view))?;
    Ok(Frame {
        app: config.app.name.clone(),
        names,
        here: asked.part("environment").to_owned(),
        cursor: may_listen.then(|| cursor.to_string()),
        at: moment::Moment::at(at),
    })
}

fn show(page: &impl Template) -> Page {
    let text = page.render().map_err(|error| {
        broken(&Problem::new("status-broken", "a page cannot be made").detail(error.to_string()), View::Full)
    })?;
    Ok(Html(text).into_response())
}
