//! Samples as medians with their spread, as a table and as JSON.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::measure::{Memory, Sample};
use super::workload::{Client, Contestant, Entry, FEW, MANY, Server, Share, Workload};

/// A core is at its limit when it has nothing to do for less than this share of its time.
const SATURATED: f64 = 0.05;

/// The middle of some figures, the least and the greatest.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Spread {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (figures.first(), figures.last()) else {
            return Spread { median: f64::NAN, min: f64::NAN, max: f64::NAN };
        };
        let middle = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 };
        Spread { median, min, max }
    }

    fn ratio(self) -> String {
        format!("{:.3} [{:.2}..{:.2}]", self.median, self.min, self.max)
    }
}

/// One contestant under one load.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) part: &'static str,
    pub(crate) load: Workload,
    pub(crate) client: &'static str,
    pub(crate) server: &'static str,
    pub(crate) share: Share,
    pub(crate) messages_per_s: Spread,
    pub(crate) echoed_per_s: Spread,
    /// To the reference's rate of the same round.
    pub(crate) ratio: Spread,
    /// Of all rounds together, in seconds.
    pub(crate) client_cpu_s: f64,
    pub(crate) server_cpu_s: f64,
    pub(crate) client_us_per_message: Spread,
    pub(crate) server_us_per_message: Spread,
    /// Of all rounds together: what the kernel counted, and what the client said.
    pub(crate) bytes_by_kernel: u64,
    pub(crate) bytes_by_client: u64,
    /// Whose core had no time left.
    pub(crate) bottleneck: &'static str,
    /// Share of the cores' time that the machine below this one kept for others.
    pub(crate) steal: f64,
    pub(crate) samples: Vec<Sample>,
}

/// A row for each entry.
pub(crate) fn rows(part: &'static str, entries: &[Entry], samples: Vec<Vec<Sample>>) -> Vec<Row> {
    let rates: Vec<Vec<f64>> =
        samples.iter().map(|of| of.iter().map(|sample| sample.messages_per_s).collect()).collect();
    let row = |(entry, samples): (&Entry, Vec<Sample>)| {
        let spread = |of: fn(&Sample) -> f64| Spread::of(samples.iter().map(of));
        let (client_idle, server_idle) = (spread(|s| s.client_core_idle).median, spread(|s| s.server_core_idle).median);
        Row {
            part,
            load: entry.load.clone(),
            client: entry.contestant.client.name(),
            server: entry.contestant.server.name(),
            share: entry.contestant.share,
            messages_per_s: spread(|s| s.messages_per_s),
            echoed_per_s: spread(|s| s.echoed_per_s),
            ratio: Spread::of(
                samples
                    .iter()
                    .zip(&rates[entry.reference])
                    .map(|(sample, reference)| sample.messages_per_s / reference),
            ),
            client_cpu_s: samples.iter().map(|s| s.client_cpu_s).sum(),
            server_cpu_s: samples.iter().map(|s| s.server_cpu_s).sum(),
            client_us_per_message: spread(Sample::client_us),
            server_us_per_message: spread(Sample::server_us),
            bytes_by_kernel: samples.iter().map(|s| s.bytes_by_kernel).sum(),
            bytes_by_client: samples.iter().map(|s| s.bytes_by_client).sum(),
            bottleneck: match (client_idle < SATURATED, server_idle < SATURATED) {
                (true, true) => "both",
                (true, false) => "client",
                (false, true) => "server",
                (false, false) => "neither",
            },
            steal: spread(|s| s.steal).median,
            samples,
        }
    };
    entries.iter().zip(samples).map(row).collect()
}

/// The rows as Markdown: who is compared stands in the column `name`.
pub(crate) fn table(rows: &[&Row], name: &str) -> String {
    let header = [
        "load",
        name,
        "messages/s",
        "echoed",
        "ratio",
        "client CPU s",
        "server CPU s",
        "client µs",
        "server µs",
        "GB by kernel",
        "GB by client",
        "at its limit",
        "steal",
    ];
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for row in rows {
        let who = match (name, row.share) {
            ("server", Share::Apart) => row.server.to_owned(),
            ("server", share) => format!("{}, {}", row.server, share.name()),
            _ => row.client.to_owned(),
        };
        table.add_row([
            row.load.name.clone(),
            who,
            format!("{:.0}", row.messages_per_s.median),
            format!("{:.3} GB/s", row.echoed_per_s.median / 1e9),
            row.ratio.ratio(),
            format!("{:.2}", row.client_cpu_s),
            format!("{:.2}", row.server_cpu_s),
            format!("{:.2}", row.client_us_per_message.median),
            format!("{:.2}", row.server_us_per_message.median),
            format!("{:.3}", row.bytes_by_kernel as f64 / 1e9),
            format!("{:.3}", row.bytes_by_client as f64 / 1e9),
            row.bottleneck.to_owned(),
            format!("{:.0} %", row.steal * 100.0),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

pub(crate) fn memory_table(memory: &[Memory]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(["process", "connections", "state", "KiB a connection"]);
    for row in memory {
        let kib = format!("{:.2}", row.bytes_a_connection / 1024.0);
        table.add_row([row.of.clone(), row.conns.to_string(), row.state.to_owned(), kib]);
    }
    for column in [1, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// Something aimed at, and how it came out.
#[derive(Debug, Serialize)]
pub(crate) struct Aim {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) measured: f64,
    pub(crate) met: bool,
}

impl Aim {
    fn at_least(what: String, wanted: f64, measured: f64) -> Aim {
        Aim { what, wanted: format!(">= {wanted:.2}"), measured, met: measured >= wanted }
    }

    pub(crate) fn at_most(what: String, wanted: f64, measured: f64) -> Aim {
        Aim { what, wanted: format!("<= {wanted:.2}"), measured, met: measured <= wanted }
    }
}

/// What the rows say about the aims of the project.
pub(crate) fn aims(rows: &[Row], memory: &[Memory]) -> Vec<Aim> {
    let full = Client::Blast { verify: true }.name();
    let by = |client: &'static str| rows.iter().filter(move |row| row.part == "engine" && row.client == client);
    let engine: Vec<&Row> = by(full).collect();
    let mut aims: Vec<Aim> = Vec::new();
    for row in &engine {
        aims.push(Aim::at_least(format!("engine to bare client, {}", row.load.name), 0.95, row.ratio.median));
    }
    let off = Client::Blast { verify: false }.name();
    for (row, unverified) in engine.iter().zip(by(off)) {
        let rounds = row.samples.iter().zip(&unverified.samples);
        let by_rate = Spread::of(rounds.map(|(full, off)| (1.0 - full.messages_per_s / off.messages_per_s) * 100.0));
        aims.push(Aim::at_most(format!("cost of verifying in %, {}", row.load.name), 3.0, by_rate.median));
    }
    let by_name = |name: &str| engine.iter().find(|row| row.load.name == name);
    if let (Some(few), Some(many)) = (by_name(FEW), by_name(MANY)) {
        let rounds = few.samples.iter().zip(&many.samples);
        let growth = Spread::of(rounds.map(|(few, many)| many.client_us() / few.client_us()));
        aims.push(Aim::at_most(format!("client CPU a message, {MANY} to {FEW}"), 1.3, growth.median));
    }
    let served = |model: &'static str| rows.iter().filter(move |row| row.part == "servers" && row.server == model);
    for row in served("epoll") {
        aims.push(Aim::at_least(format!("epoll to bare pump, {}", row.load.name), 1.0, row.ratio.median));
    }
    for (ring, epoll) in served("io-uring").zip(served("epoll")) {
        let rounds = ring.samples.iter().zip(&epoll.samples);
        let ratio = Spread::of(rounds.map(|(ring, epoll)| ring.messages_per_s / epoll.messages_per_s));
        aims.push(Aim::at_least(format!("io-uring to epoll, {}", ring.load.name), 1.0, ratio.median));
    }
    for row in rows.iter().filter(|row| row.share == Share::TwoCores) {
        let what = format!("{}: two cores and workers to one, {}", row.server, row.load.name);
        aims.push(Aim::at_least(what, 1.8, row.ratio.median));
    }
    for row in memory.iter().filter(|row| row.of == "blast" && row.conns >= 10_000) {
        let what = format!("client KiB a connection, {} connections", row.conns);
        aims.push(Aim::at_most(what, 1.25, row.bytes_a_connection / 1024.0));
    }
    aims
}

pub(crate) fn aims_table(aims: &[Aim]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(["aim", "wanted", "measured", ""]);
    for aim in aims {
        let met = if aim.met { "met" } else { "missed" };
        table.add_row([aim.what.clone(), aim.wanted.clone(), format!("{:.3}", aim.measured), met.to_owned()]);
    }
    table.to_string()
}

/// All of it, for `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'r> {
    pub(crate) form: &'static str,
    pub(crate) machine: String,
    pub(crate) command: String,
    pub(crate) started_at: String,
    pub(crate) rounds: usize,
    pub(crate) window_s: f64,
    pub(crate) notes: &'r [String],
    pub(crate) rows: &'r [Row],
    pub(crate) memory: &'r [Memory],
    pub(crate) aims: &'r [Aim],
}

/// The bare ones, whom everything is compared with.
pub(crate) const REFERENCE: Contestant = Contestant { client: Client::Bare, server: Server::Pump, share: Share::Apart };
