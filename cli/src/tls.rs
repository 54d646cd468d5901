//! Flags of TLS, the same for all that serve and all that call.

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use transport::tls::{ClientCerts, OwnFiles, Tls, TlsFiles};

/// The files of whoever calls others.
#[derive(Args, Clone, Debug, Default)]
#[expect(clippy::struct_field_names, reason = "flags of all daemons share one space of names")]
pub(crate) struct ClientTls {
    /// File with the certificate to show others, in PEM; behind it those that lead to one of tls_ca_file
    #[arg(long, env = "AGORA_TLS_CERT_FILE", global = true)]
    tls_cert_file: Option<PathBuf>,
    /// File with the key of that certificate, in PEM, without a passphrase
    #[arg(long, env = "AGORA_TLS_KEY_FILE", global = true)]
    tls_key_file: Option<PathBuf>,
    /// File with the certificates, in PEM, of those whose word is trusted on who is who; with it
    /// everything is called by TLS
    #[arg(long, env = "AGORA_TLS_CA_FILE", global = true)]
    tls_ca_file: Option<PathBuf>,
}

/// The files of a daemon, and what it asks those for who call it.
#[derive(Args, Clone, Debug)]
pub(crate) struct DaemonTls {
    #[command(flatten)]
    files: ClientTls,
    /// Whether those who call must show a certificate, may, or are not asked
    #[arg(long, env = "AGORA_TLS_CLIENT_CERTS", value_enum, default_value_t = Asked::None)]
    tls_client_certs: Asked,
}

/// Whether those who call are asked for a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Asked {
    /// Nobody is asked
    None,
    /// Who shows one is known by it
    Accepted,
    /// Nobody comes in without one
    Required,
}

impl ClientTls {
    /// What to call others with; absent without these flags.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Tls>> {
        let own = self.own()?;
        let Some(ca) = &self.tls_ca_file else {
            ensure!(
                own.is_none(),
                "--tls_cert_file needs --tls_ca_file: say whose word is trusted on who others are"
            );
            return Ok(None);
        };
        read(TlsFiles { own, ca: ca.clone(), client_certs: ClientCerts::None }).map(Some)
    }

    fn own(&self) -> anyhow::Result<Option<OwnFiles>> {
        match (self.tls_cert_file.clone(), self.tls_key_file.clone()) {
            (Some(cert), Some(key)) => Ok(Some(OwnFiles { cert, key })),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => {
                bail!("--tls_cert_file and --tls_key_file go together: give both or none")
            }
        }
    }
}

impl DaemonTls {
    /// What to serve and to call others with; absent without these flags. Its files are looked at for
    /// as long as the runtime runs.
    pub(crate) fn start(&self) -> anyhow::Result<Option<Tls>> {
        let Some(files) = self.files()? else { return Ok(None) };
        let tls = read(files)?;
        tokio::spawn(tls.clone().watch());
        Ok(Some(tls))
    }

    fn files(&self) -> anyhow::Result<Option<TlsFiles>> {
        let client_certs = match self.tls_client_certs {
            Asked::None => ClientCerts::None,
            Asked::Accepted => ClientCerts::Accepted,
            Asked::Required => ClientCerts::Required,
        };
        match (self.files.own()?, self.files.tls_ca_file.clone()) {
            (Some(own), Some(ca)) => Ok(Some(TlsFiles { own: Some(own), ca, client_certs })),
            (Some(_), None) => bail!(
                "--tls_cert_file needs --tls_ca_file: a daemon that serves by TLS calls others by it too, \
                 so say whose word is trusted on who they are"
            ),
            (None, Some(_)) => bail!(
                "--tls_ca_file needs --tls_cert_file and --tls_key_file: a daemon that calls others by \
                 TLS serves by it too, so give it a certificate"
            ),
            (None, None) => {
                ensure!(
                    self.tls_client_certs == Asked::None,
                    "--tls_client_certs asks for certificates, which there are only with TLS: give \
                     --tls_cert_file, --tls_key_file and --tls_ca_file"
                );
                Ok(None)
            }
        }
    }
}

fn read(files: TlsFiles) -> anyhow::Result<Tls> {
    Tls::load(files).context("--tls_cert_file, --tls_key_file, --tls_ca_file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(given: [bool; 3], asked: Asked) -> DaemonTls {
        let [cert, key, ca] = given.map(|is_given| is_given.then(|| "/nowhere".into()));
        let files = ClientTls { tls_cert_file: cert, tls_key_file: key, tls_ca_file: ca };
        DaemonTls { files, tls_client_certs: asked }
    }

    #[test]
    fn flags_that_do_not_go_together_are_refused() {
        for (given, asked, of_daemon, of_client) in [
            ([false, false, false], Asked::None, None, None),
            ([true, true, true], Asked::Required, None, None),
            ([false, false, true], Asked::None, Some("give it a certificate"), None),
            ([true, true, false], Asked::None, Some("needs --tls_ca_file"), Some("--tls_ca_file")),
            ([true, false, true], Asked::None, Some("go together"), Some("go together")),
            ([false, true, false], Asked::None, Some("go together"), Some("go together")),
            ([false, false, false], Asked::Accepted, Some("only with TLS"), None),
        ] {
            let flags = flags(given, asked);
            let told = flags.files().err().map(|error| error.to_string());
            let is_right = match (&told, of_daemon) {
                (Some(told), Some(why)) => told.contains(why),
                (told, why) => told.is_none() && why.is_none(),
            };
            assert!(is_right, "{flags:?}: {told:?}");
            // A file that is not there is told of after that.
            let told = flags.files.load().err().map(|error| format!("{error:#}"));
            let expected = of_client.or(given[2].then_some("cannot read /nowhere"));
            let is_right = match (&told, expected) {
                (Some(told), Some(why)) => told.contains(why),
                (told, why) => told.is_none() && why.is_none(),
            };
            assert!(is_right, "{flags:?}: {told:?}");
        }
    }
}
