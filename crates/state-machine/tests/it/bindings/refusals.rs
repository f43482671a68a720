//! Commands that are for queues and subscriptions, not for bindings.

use phalanx_state_machine::command::{
    Attach, CommandKind, Detach, Mark, NewMessage, Place, PlaceKind, Purge, Receive, Seek, Send, SetWindow,
    Settle,
};

use crate::support::id;

/// One of each.
pub fn commands() -> Vec<CommandKind> {
    let place = Place { kind: Some(PlaceKind::Earliest(true)) };
    let messages = vec![NewMessage::default()];
    vec![
        CommandKind::Send(Send { messages, ..Send::default() }),
        CommandKind::Purge(Purge::default()),
        CommandKind::Receive(Receive {
            consumer: id(1),
            request: id(2),
            messages_max: 1,
            ..Receive::default()
        }),
        CommandKind::Attach(Attach {
            consumer: id(1),
            incarnation: 1,
            window_messages: 1,
            ..Attach::default()
        }),
        CommandKind::Detach(Detach { consumer: id(1), incarnation: 1, ..Detach::default() }),
        CommandKind::SetWindow(SetWindow { consumer: id(1), incarnation: 1, ..SetWindow::default() }),
        CommandKind::Settle(Settle { consumer: id(1), ..Settle::default() }),
        CommandKind::Seek(Seek { uid: 0, place }),
        CommandKind::Mark(Mark { name: "here".into(), ..Mark::default() }),
    ]
}

/// The same, of that uid.
pub fn of(mut kind: CommandKind, to: u64) -> CommandKind {
    match &mut kind {
        CommandKind::Send(command) => command.uid = to,
        CommandKind::Purge(command) => command.uid = to,
        CommandKind::Receive(command) => command.uid = to,
        CommandKind::Attach(command) => command.uid = to,
        CommandKind::Detach(command) => command.uid = to,
        CommandKind::SetWindow(command) => command.uid = to,
        CommandKind::Settle(command) => command.uid = to,
        CommandKind::Seek(command) => command.uid = to,
        CommandKind::Mark(command) => command.uid = to,
        other => panic!("{other:?} is none of them"),
    }
    kind
}
