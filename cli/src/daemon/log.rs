//! The log of a daemon: to stderr, and to files if asked.

use anyhow::Context;
use clap::Args;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate, compression::Compression};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, reload};

/// How large a log file may be before the next one is begun.
const FILE_BYTES_MAX: usize = 100 << 20;

/// How many full files are kept. With the one being written: half a gigabyte.
const FULL_FILES_MAX: usize = 4;

/// Where the log goes.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogFlags {
    /// Directory for the daemon's own log, beside what it writes to stderr; by default there is none
    ///
    /// The file agora-DAEMON.log in it is also served, as /master/log or /slave/log. It is begun anew
    /// at 100 MB, and the last four full ones are kept.
    #[arg(long, env = "AGORA_LOG_DIR")]
    log_dir: Option<PathBuf>,
}

impl LogFlags {
    /// The file the daemon named so writes its log to, if it writes one.
    pub(crate) fn file(&self, daemon: &str) -> Option<PathBuf> {
        Some(self.log_dir.as_ref()?.join(format!("agora-{daemon}.log")))
    }
}

/// Begins to log.
pub(crate) fn start(flags: &LogFlags, daemon: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let given = filter.to_string();
    let (filter, reload) = reload::Layer::new(filter);
    let to_file = match flags.file(daemon) {
        Some(file) => {
            let layer = fmt::layer().with_ansi(false).with_writer(Mutex::new(rotated(file)?));
            Some(layer)
        }
        None => None,
    };
    let to_stderr = fmt::layer()
        .with_writer(std::io::stderr)
        // Colours are for eyes; a file is searched.
        .with_ansi(std::io::stderr().is_terminal());
    let log = tracing_subscriber::registry().with(filter).with(to_file).with(to_stderr);
    // A subscriber that is there already, of an embedding test, is as good.
    let _ = log.try_init();
    transport::logging::install(move |level| {
        // What the libraries below have to say is for those who work on them.
        let filter = match level {
            0 => given.clone(),
            1 => "info,master=debug,agent=debug,marathon=debug,framework_sdk=debug".to_owned(),
            _ => "trace,h2=info,hyper=info,tower=info".to_owned(),
        };
        // It fails only when the log is gone, and then nobody reads it.
        let _ = reload.reload(EnvFilter::new(filter));
    });
    Ok(())
}

/// A file that is begun anew when it is full.
fn rotated(file: PathBuf) -> anyhow::Result<FileRotate<AppendCount>> {
    // The library would panic where it cannot write.
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("--log_dir: {}", dir.display()))?;
    }
    let open = std::fs::OpenOptions::new().create(true).append(true).open(&file);
    open.with_context(|| format!("--log_dir: cannot write to {}", file.display()))?;
    let limit = ContentLimit::BytesSurpassed(FILE_BYTES_MAX);
    let older = AppendCount::new(FULL_FILES_MAX);
    Ok(FileRotate::new(file, older, limit, Compression::None, None))
}
