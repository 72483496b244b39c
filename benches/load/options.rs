//! What is measured, and for how long.

use std::time::Duration;

use clap::Parser;

/// Measures Menshen under load beside a bare proxy and its peers, on loopback.
#[derive(Debug, Clone, Parser)]
#[command(name = "load", version, disable_version_flag = true)]
pub struct Options {
    /// Only what has this in its name, as --list prints it; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// Print the names of all measurements and end
    #[arg(long)]
    pub list: bool,
    /// How often everything is measured in turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Length of one round of one server
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// Requests under way at the same time
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,32,256", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: Vec<u32>,
    /// A look in minutes: two rounds of 0.5 s with 32 connections, 500 streams
    #[arg(long)]
    pub quick: bool,
    /// The result as JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Login pages that wait at their stream
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub streams: u32,
    /// How many of the waiting pages are confirmed as fast as possible
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub storm: u32,
    /// Also measure with up to a million sessions and users, and ten thousand sites (takes long)
    #[arg(long)]
    pub growth: bool,
    /// `cargo bench` says it
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// From the command line; ends the process on a mistake.
    pub fn read() -> Self {
        let mut options = Self::parse();
        if options.quick {
            options.rounds = options.rounds.min(2);
            options.seconds = options.seconds.min(0.5);
            options.connections = vec![32];
            options.streams = options.streams.min(500);
            options.storm = options.storm.min(200);
        }
        options.storm = options.storm.min(options.streams);
        options
    }

    /// Whether a measurement of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.only.is_empty() || self.only.iter().any(|text| name.contains(&text.to_lowercase()))
    }

    pub fn round(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.05 to 3600".to_owned()),
    }
}
