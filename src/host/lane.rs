//! Threads that run scripts. A session stays on its lane; its operations are performed elsewhere.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::playbook::{Diagnostic, Extension, Playbook, Runtime};

/// Work for a lane, given its runtime.
type Job = Box<dyn FnOnce(Rc<Runtime>) + Send>;

/// The lanes of a host.
pub(super) struct Lanes {
    lanes: Vec<mpsc::UnboundedSender<Job>>,
    next: AtomicUsize,
}

impl Lanes {
    /// Starts `count` threads; each builds its engine when the first job comes.
    pub(super) fn start(count: usize, root: &Path, extensions: &[Extension]) -> std::io::Result<Self> {
        let lanes = (0..count.max(1))
            .map(|index| {
                let (sender, receiver) = mpsc::unbounded_channel();
                let (root, extensions) = (root.to_path_buf(), extensions.to_vec());
                std::thread::Builder::new()
                    .name(format!("lane-{index}"))
                    .spawn(move || work(receiver, root, &extensions))?;
                Ok(sender)
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { lanes, next: AtomicUsize::new(0) })
    }

    /// Runs `job` on the next lane, within its task set: it may spawn local tasks.
    pub(super) fn run(&self, job: impl FnOnce(Rc<Runtime>) + Send + 'static) {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        // A lane ends only when the host is dropped.
        let _ = self.lanes[index].send(Box::new(job));
    }

    /// Compiles a playbook on a lane.
    pub(super) fn check(&self, playbook: &Playbook) -> Result<(), Diagnostic> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let playbook = playbook.clone();
        self.run(move |runtime| {
            let _ = sender.send(runtime.check(&playbook));
        });
        receiver.recv().unwrap_or_else(|_| Err(Diagnostic::new("the host's lanes have ended")))
    }
}

fn work(mut jobs: mpsc::UnboundedReceiver<Job>, root: PathBuf, extensions: &[Extension]) {
    let Ok(driver) = Builder::new_current_thread().build() else { return };
    let mut runtime = None;
    LocalSet::new().block_on(&driver, async {
        while let Some(job) = jobs.recv().await {
            let runtime = runtime.get_or_insert_with(|| Rc::new(Runtime::new(root.clone(), extensions)));
            job(Rc::clone(runtime));
        }
    });
}
