//! Applications with the type of their state erased: what the switchboard runs, and how a state
//! gets into a record and out of it, in whichever version it was written.

use std::any::Any;

use super::{App, Call, Command, Event, Scene};
use crate::sip::effect::LegId;

/// A state that this application can't read.
#[derive(Debug, thiserror::Error)]
pub enum AppStateError {
    /// It is not what its version says.
    #[error("the application's state does not decode: {0}")]
    Body(#[from] postcard::Error),
    /// Of a version that this build does not know.
    #[error("application's state of version {found}, this build has version {known}")]
    Version {
        /// The one that was found.
        found: u16,
        /// The one that this build writes.
        known: u16,
    },
}

/// An application with its state's type erased: what the switchboard runs.
pub trait AnyApp: Send + Sync {
    /// See [`App::name`].
    fn name(&self) -> &'static str;
    /// See [`App::events`].
    fn events(&self) -> &'static [&'static str];
    /// See [`App::STATE_VERSION`].
    fn state_version(&self) -> u16;
    /// The state of a new call.
    fn fresh(&self) -> Box<dyn Any + Send>;
    /// The state in a record.
    ///
    /// # Errors
    /// If the bytes are not this application's state, in a version that it knows.
    fn decode(&self, version: u16, bytes: &[u8]) -> Result<Box<dyn Any + Send>, AppStateError>;
    /// The state for a record.
    fn encode(&self, state: &(dyn Any + Send)) -> Vec<u8>;
    /// The state for people.
    fn describe(&self, state: &(dyn Any + Send)) -> String;
    /// See [`App::on_event`].
    fn on_event(
        &self,
        scene: Scene<'_>,
        state: &mut (dyn Any + Send),
        commands: &mut Vec<(LegId, Command)>,
        event: Event,
    );
}

impl<A: App> AnyApp for A {
    fn name(&self) -> &'static str {
        App::name(self)
    }

    fn events(&self) -> &'static [&'static str] {
        App::events(self)
    }

    fn state_version(&self) -> u16 {
        A::STATE_VERSION
    }

    fn fresh(&self) -> Box<dyn Any + Send> {
        Box::<A::State>::default()
    }

    fn decode(&self, version: u16, bytes: &[u8]) -> Result<Box<dyn Any + Send>, AppStateError> {
        if version == A::STATE_VERSION {
            return Ok(Box::new(postcard::from_bytes::<A::State>(bytes)?));
        }
        let older = version < A::STATE_VERSION;
        let upgraded = older.then(|| A::upgrade(version, bytes)).flatten();
        let state = upgraded.ok_or(AppStateError::Version {
            found: version,
            known: A::STATE_VERSION,
        })?;
        Ok(Box::new(state))
    }

    fn encode(&self, state: &(dyn Any + Send)) -> Vec<u8> {
        let state = state.downcast_ref::<A::State>();
        state
            .and_then(|state| postcard::to_stdvec(state).ok())
            .unwrap_or_default()
    }

    fn describe(&self, state: &(dyn Any + Send)) -> String {
        state
            .downcast_ref::<A::State>()
            .map(|state| format!("{state:?}"))
            .unwrap_or_default()
    }

    fn on_event(
        &self,
        scene: Scene<'_>,
        state: &mut (dyn Any + Send),
        commands: &mut Vec<(LegId, Command)>,
        event: Event,
    ) {
        if let Some(state) = state.downcast_mut::<A::State>() {
            App::on_event(self, &mut Call::new(scene, state, commands), event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter;

    impl App for Counter {
        type State = (u32, String);
        const STATE_VERSION: u16 = 3;

        fn name(&self) -> &'static str {
            "counter"
        }

        fn upgrade(version: u16, state: &[u8]) -> Option<Self::State> {
            let count: u32 = (version == 2).then(|| postcard::from_bytes(state))?.ok()?;
            Some((count, "from 2".to_owned()))
        }

        fn on_event(&self, _: &mut Call<'_, Self::State>, _: Event) {}
    }

    /// Goal: a call goes on with the state that an earlier version of its application wrote, and
    /// what can't be read is refused by its version. Method: each version, as it was written.
    #[test]
    fn a_state_is_upgraded_or_refused() {
        let app: &dyn AnyApp = &Counter;
        let read = |version, bytes: &[u8]| match app.decode(version, bytes) {
            Ok(state) => app.describe(state.as_ref()),
            Err(error) => error.to_string(),
        };
        let own = app.encode(&(7_u32, "own".to_owned()));
        let before = postcard::to_stdvec(&7_u32).expect("a number");
        assert_eq!(read(3, &own), r#"(7, "own")"#);
        assert_eq!(read(2, &before), r#"(7, "from 2")"#);
        for (version, bytes) in [(1, &before), (4, &own)] {
            let text =
                format!("application's state of version {version}, this build has version 3");
            assert_eq!(read(version, bytes), text);
        }
        assert!(read(3, &[0xff]).starts_with("the application's state does not decode"));
    }
}
