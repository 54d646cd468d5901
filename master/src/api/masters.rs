//! Where the masters are, for frameworks that want to know.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use proto::agora::v1::masters_server::{Masters, MastersServer};
use proto::agora::v1::{MasterList, WatchMasters};
use proto::convert::masters as convert;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::Api;

/// The service.
pub(super) fn service(api: Api) -> MastersServer<Service> {
    MastersServer::new(Service { api })
}

/// Tells frameworks where the masters are.
pub(super) struct Service {
    api: Api,
}

#[tonic::async_trait]
impl Masters for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<MasterList, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchMasters>) -> Result<Response<Self::WatchStream>, Status> {
        self.api.standing.serving().await.map_err(|not| not.status())?;
        let told = WatchStream::new(self.api.masters.clone());
        let told = told.map(|masters| Ok(convert::to_wire(&masters)));
        let stop = self.api.stop.clone().cancelled_owned();
        Ok(Response::new(Box::pin(told.take_until(stop))))
    }
}
