//! The user's code, in the two shapes it may have.
//!
//! Owns: functions, called by one task at a time, and handlers of which each task has its own. Invariant: a handler is
//! called by one thread at a time, and one of a task by that task's thread alone.

use std::sync::{Arc, Mutex};

use crate::detection::Findings;
use crate::frame::Frame;
use crate::task::Task;

/// Any error, as `?` makes it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What a handler gives back.
pub type HandlerResult<T> = Result<T, BoxError>;

/// Analyses the frames of one task, one after the other. Closures that take a [`Frame`] are handlers too.
///
/// It is made, called and dropped in the thread of its task, so it need not be `Send`.
pub trait Handler {
    /// What is seen in this frame.
    ///
    /// # Errors
    /// Whatever went wrong. The frame is given up, one line is logged, and the next frame comes; an error of
    /// [`Frame::rgb`] and its like counts as a broken picture. A panic is taken as an error, and the task gets a new handler.
    fn analyze(&mut self, frame: &Frame) -> HandlerResult<Findings>;
}

impl<F, T> Handler for F
where
    F: FnMut(&Frame) -> HandlerResult<T>,
    T: Into<Findings>,
{
    fn analyze(&mut self, frame: &Frame) -> HandlerResult<Findings> {
        self(frame).map(Into::into)
    }
}

type Shared = Arc<Mutex<dyn Handler + Send>>;
type Factory = Arc<dyn Fn(&Task) -> HandlerResult<Box<dyn Handler>> + Send + Sync>;

/// How the handler of a task is come by.
#[derive(Clone)]
pub(crate) enum Registration {
    /// One for all tasks of the type.
    Shared(Shared),
    /// One for each.
    PerTask(Factory),
}

impl Registration {
    pub(crate) fn shared(handler: impl Handler + Send + 'static) -> Self {
        Self::Shared(Arc::new(Mutex::new(handler)))
    }

    pub(crate) fn per_task<H: Handler + 'static>(
        factory: impl Fn(&Task) -> HandlerResult<H> + Send + Sync + 'static,
    ) -> Self {
        Self::PerTask(Arc::new(move |task| {
            factory(task).map(|handler| Box::new(handler) as Box<dyn Handler>)
        }))
    }

    pub(crate) fn of_task(&self, task: &Task) -> HandlerResult<Serving> {
        Ok(match self {
            Self::Shared(shared) => Serving::Shared(Arc::clone(shared)),
            Self::PerTask(factory) => Serving::Own(factory(task)?),
        })
    }
}

/// The handler of one task at work.
pub(crate) enum Serving {
    Shared(Shared),
    Own(Box<dyn Handler>),
}
