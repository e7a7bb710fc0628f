//! Parts that the user has already: a Kubernetes, a PostgreSQL, a NATS.

use std::path::PathBuf;

use crate::paths::Ctx;
use crate::ui;

/// What the environment variables `KUBECONFIG`, `DATABASE_URL` and `NATS_URL` give; such a part is not started.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// A cluster to use.
    pub kubeconfig: Option<PathBuf>,
    /// A database to use, with the right to create more.
    pub database_url: Option<String>,
    /// A NATS server with JetStream to use.
    pub nats_url: Option<String>,
}

impl Given {
    /// Reads the variables; values that point at our own environment count as absent.
    pub fn read(ctx: &Ctx) -> Self {
        let own = crate::infra::Infra::existing(ctx);
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let kubeconfig = variable("KUBECONFIG").map(PathBuf::from).filter(|path| !path.starts_with(&ctx.dev));
        let database_url = variable("DATABASE_URL")
            .filter(|url| own.as_ref().is_none_or(|infra| !url.contains(&infra.state.database_password)));
        let nats_url = variable("NATS_URL").filter(|url| *url != crate::infra::nats::url());
        Self { kubeconfig, database_url, nats_url }
    }

    /// Says which parts are used as given.
    pub fn announce(&self) {
        if let Some(path) = &self.kubeconfig {
            ui::say("kubernetes", format!("using the cluster of KUBECONFIG={}", path.display()));
        }
        if self.database_url.is_some() {
            ui::say("postgres", "using the server of DATABASE_URL");
        }
        if self.nats_url.is_some() {
            ui::say("nats", "using the server of NATS_URL");
        }
    }

    /// Is there nothing left for us to start below the services?
    pub fn everything(&self) -> bool {
        self.kubeconfig.is_some() && self.database_url.is_some() && self.nats_url.is_some()
    }
}
