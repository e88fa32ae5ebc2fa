//! Work that may take long goes to a thread that may block: a thousand agents' page takes a tenth of a second, which must
//! not keep a worker from the agents' streams.

use super::problem::Problem;
use runtime::log::chain;

/// Does `work` on such a thread. A panic there costs its request, as everywhere.
pub(super) async fn aside<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(error = chain(&error), "page not made");
        Problem::Defect
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[tokio::test]
    async fn work_is_done_on_a_thread_of_its_own_and_its_panic_is_a_refusal() {
        let here = thread::current().id();
        let there = aside(|| thread::current().id()).await.expect("it is done");
        assert_ne!(here, there);
        let broken = aside(|| panic!("a defect")).await;
        assert!(matches!(broken, Err(Problem::Defect)));
    }
}
