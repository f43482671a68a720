//! One look at everything.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use phalanx_client::{Admin, Error, QueueInfo};
use tokio::time::Instant;

use crate::survey::Survey;

/// Queues that are looked at; more are only counted.
const QUEUES_MAX: usize = 500;
/// Queues asked for at the same time.
const PARALLEL: usize = 16;

/// What one look saw.
pub struct Sample {
    /// When.
    pub at: Instant,
    /// The cluster.
    pub survey: Survey,
    /// The namespace's queues and subscriptions, by uid: the first ones by name, queues first.
    pub queues: BTreeMap<u64, QueueInfo>,
    /// How many queues there are.
    pub queue_count: usize,
}

impl Sample {
    /// Looks.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn take(admin: &Admin) -> Result<Self, Error> {
        let survey = Survey::take(admin).await?;
        let all = names(admin).await?;
        let queue_count = all.len();
        let asked = all.into_iter().take(QUEUES_MAX).map(|queue| async move {
            match admin.queue_info(&queue).await {
                Ok(info) => Ok(Some(info)),
                // Deleted since it was listed.
                Err(Error::QueueNotFound { .. } | Error::QueueGone { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let infos: Vec<Option<QueueInfo>> = stream::iter(asked).buffered(PARALLEL).try_collect().await?;
        let queues = infos.into_iter().flatten().map(|info| (info.queue.uid, info)).collect();
        Ok(Self { at: Instant::now(), survey, queues, queue_count })
    }
}

/// Queues, then the subscriptions of all topics.
async fn names(admin: &Admin) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = admin.list_queues().await?.into_iter().map(|queue| queue.name).collect();
    for topic in admin.list_topics().await? {
        match admin.list_subscriptions(&topic.name).await {
            Ok(all) => names.extend(all.into_iter().map(|subscription| subscription.queue)),
            // Deleted since it was listed.
            Err(Error::QueueNotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(names)
}
