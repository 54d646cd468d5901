//! A framework that puts load on a master.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, bail};
use framework_sdk::builders::{TaskBuilder, framework};
use framework_sdk::calls::{accept, launch};
use framework_sdk::client::Submitted;
use framework_sdk::matching::{Available, Needs};
use framework_sdk::{Client, ClientOptions, EventStream, Handle, Protocol, SessionEvent};
use proto::mesos::v1::scheduler::{Call, Event};
use proto::mesos::v1::{TaskState, TaskStatus};
use tokio::time::timeout;

use crate::process::PATIENCE;

/// Calls sent ahead of their answers: enough to keep the connection full.
const UNDER_WAY_MAX: usize = 512;

/// How long its tasks outlive its connection: as long as a change of the leading master may take.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(600);

/// A framework that is subscribed.
pub(crate) struct Framework {
    pub(crate) handle: Handle,
    events: EventStream,
    /// Events that came while a call waited for room.
    put_aside: VecDeque<Event>,
    /// Calls whose answers are still to come, oldest first.
    under_way: VecDeque<Submitted>,
}

impl Framework {
    /// Subscribes to whichever of these masters leads.
    pub(crate) async fn subscribe(masters: &[String], protocol: Protocol) -> anyhow::Result<Self> {
        let info = framework("bench", "root", FAILOVER_TIMEOUT);
        let options = ClientOptions::new(masters.to_vec(), info);
        let (handle, events) = Client::connect(ClientOptions { protocol, ..options });
        let mut framework =
            Self { handle, events, put_aside: VecDeque::new(), under_way: VecDeque::new() };
        framework.subscribed().await?;
        Ok(framework)
    }

    /// Waits until it is subscribed, again if it was before. What was said to a master that is gone
    /// is lost with it.
    pub(crate) async fn subscribed(&mut self) -> anyhow::Result<()> {
        loop {
            let event = timeout(PATIENCE, self.events.next()).await;
            match event.context("the master does not take the framework")? {
                Some(SessionEvent::Subscribed { .. }) => break,
                Some(SessionEvent::Disconnected { .. } | SessionEvent::Event(_)) => {}
                Some(SessionEvent::Ended(end)) => bail!("the subscription has ended: {end}"),
                None => bail!("the subscription has ended"),
            }
        }
        self.under_way.clear();
        self.put_aside.clear();
        Ok(())
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Event> {
        match self.put_aside.pop_front() {
            Some(event) => Ok(event),
            None => next_of(&mut self.events).await,
        }
    }

    /// Sends a call without waiting for its answer, unless very many wait already.
    pub(crate) async fn submit(&mut self, call: Call) -> anyhow::Result<()> {
        while self.under_way.len() >= UNDER_WAY_MAX
            && let Some(first) = self.under_way.front_mut()
        {
            // Answers come behind events: whoever waits for one must take the others.
            tokio::select! {
                answer = first => {
                    self.under_way.pop_front();
                    answer?;
                }
                event = next_of(&mut self.events) => self.put_aside.push_back(event?),
            }
        }
        self.under_way.push_back(self.handle.submit(call));
        Ok(())
    }

    /// Ends the framework and all its tasks.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.handle.teardown().await.context("the framework cannot be ended")
    }
}

/// The next event of a subscription that goes on.
async fn next_of(events: &mut EventStream) -> anyhow::Result<Event> {
    let event = timeout(PATIENCE, events.next()).await;
    match event.context("the master says nothing any more")? {
        Some(SessionEvent::Event(event)) => Ok(*event),
        Some(SessionEvent::Disconnected { why }) => bail!("the master is gone: {why}"),
        Some(SessionEvent::Subscribed { .. }) => bail!("the subscription has begun anew"),
        Some(SessionEvent::Ended(end)) => bail!("the subscription has ended: {end}"),
        None => bail!("the subscription has ended"),
    }
}

/// How far a task has come, for those who want nothing but to see it end well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// It does not run yet.
    Starting,
    Running,
    Finished,
}

/// What an update says; an error if the task has ended badly.
pub(crate) fn progress_of(status: &TaskStatus) -> anyhow::Result<Progress> {
    let state = status.state();
    if [TaskState::TaskStaging, TaskState::TaskStarting].contains(&state) {
        return Ok(Progress::Starting);
    }
    if state == TaskState::TaskRunning {
        return Ok(Progress::Running);
    }
    let (task, said) = (&status.task_id.value, status.message());
    anyhow::ensure!(
        state == TaskState::TaskFinished,
        "task {task}: {}: {said}",
        state.as_str_name()
    );
    Ok(Progress::Finished)
}

/// Has one task sleep on the agent, and wants nothing more of that for `refused`.
pub(crate) async fn run_sleeper(
    framework: &mut Framework,
    refused: Duration,
) -> anyhow::Result<()> {
    let mut is_launched = false;
    loop {
        let event = framework.next().await?;
        for offer in event.offers.into_iter().flat_map(|offers| offers.offers) {
            let taken = Available::of(&offer).take(&Needs::new(0.1, 64.0));
            if let (false, Some(taken)) = (is_launched, taken) {
                let task = TaskBuilder::shell("sleeper", "exec sleep 1000")
                    .build(&offer.agent_id, taken.resources);
                is_launched = true;
                let call = accept([offer.id], vec![launch(vec![task])], Some(refused));
                framework.handle.call(call).await?;
            } else {
                framework.handle.decline([offer.id], Some(Duration::ZERO)).await?;
            }
        }
        if let Some(update) = event.update
            && progress_of(&update.status)? == Progress::Running
        {
            return Ok(());
        }
    }
}
