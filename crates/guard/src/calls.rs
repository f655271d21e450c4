//! System calls of the guest that a process of ours answers (`hide_netif`): the guard keeps where they arrive.
//!
//! ```text
//!   tool ──listener──▶ CONTROL ─▶ guard ── a call arrives ──▶ starts the broker (the tool in another role)
//!                                   │◀── LINK closes: it was idle, or was killed ────┘
//! ```
//! The guard only looks whether a call is there. Nothing answers calls as long as none is made, and a broker that is
//! killed is followed by another one: the listeners are open here all the time.

use crate::sys::PollFd;
use crate::{Arguments, fd, sys};

const EPOLLIN: u32 = 1;
/// What a caller is told whose broker has died: no buffer space, which programs know from netlink.
const ENOBUFS: i32 = 105;
/// Descriptors of the broker: its link to the guard, and the note of the call that it is busy with.
const BROKER_LINK: i32 = 3;
const BROKER_NOTE: i32 = 4;

/// The listeners, and who answers on them.
pub struct Calls {
    /// Watches all listeners; negative until there is one.
    listeners: i32,
    /// The broker's pid; 0 without one.
    broker: isize,
    /// Closed by the broker's end; listeners that arrive while it runs are passed on here.
    link: i32,
    /// A file in memory: which listener (as numbered here) and which call the broker has taken last.
    note: i32,
    /// The listener whose call made the broker start.
    cause: i32,
}

impl Calls {
    /// Nothing is listened to yet.
    pub fn new() -> Self {
        Self { listeners: -1, broker: 0, link: -1, note: -1, cause: -1 }
    }

    /// What to watch for [`Calls::attend`]: the calls, or the end of who answers them.
    pub fn watch(&self) -> i32 {
        if self.broker > 0 { self.link } else { self.listeners }
    }

    /// Takes a listener from the control socket; false when nothing will come any more.
    pub fn take(&mut self) -> bool {
        let listener = sys::receive_descriptor(fd::CONTROL);
        if listener < 0 {
            // A message without a descriptor is nothing; the other end is open here, so only an error is the end.
            return listener == sys::NO_DESCRIPTOR;
        }
        if self.listeners < 0 {
            self.listeners = sys::epoll() as i32;
        }
        sys::epoll_add(self.listeners, listener, EPOLLIN);
        if self.broker > 0 {
            sys::send_descriptor(self.link, listener);
        }
        true
    }

    /// What [`Calls::watch`] told of is ready.
    pub fn attend(&mut self, arguments: &Arguments) {
        if self.broker > 0 {
            self.bury();
            return;
        }
        let Some((events, listener)) = sys::epoll_next(self.listeners) else { return };
        if events & EPOLLIN == 0 {
            // Nobody is left that could call.
            sys::close(listener);
            return;
        }
        self.cause = listener;
        self.start(arguments);
    }

    /// Executes `TOOL --broker NAME DIR` with all listeners open.
    fn start(&mut self, arguments: &Arguments) {
        let Some((ours, theirs)) = sys::socket_pair() else { return self.refuse() };
        self.note = sys::memory_file(c"vserver-broker") as i32;
        let pid = sys::clone(0);
        if pid == 0 {
            sys::duplicate(theirs, BROKER_LINK);
            sys::duplicate(self.note, BROKER_NOTE);
            for other in [fd::HOST_VIEW, fd::CONSOLE_SLAVE, fd::CONTROL, fd::CONTROL_PEER, ours, theirs] {
                sys::close(other);
            }
            sys::close(self.note);
            sys::close(self.listeners);
            let words = [
                arguments.word(4),
                c"--broker".as_ptr().cast(),
                arguments.word(6),
                arguments.word(7),
                core::ptr::null(),
            ];
            // The very program that started the guest: it knows this guard's ways.
            // SAFETY: C strings and null-terminated arrays of them, all alive until the process is replaced.
            unsafe {
                sys::execve_fd(fd::TOOL, words.as_ptr(), arguments.envp);
                sys::execve(arguments.word(3), words.as_ptr(), arguments.envp);
            }
            sys::exit(1)
        }
        sys::close(theirs);
        if pid < 0 {
            sys::close(ours);
            sys::close(self.note);
            return self.refuse();
        }
        (self.broker, self.link) = (pid, ours);
    }

    /// The broker has ended. A call that it had taken and not answered would wait for ever.
    fn bury(&mut self) {
        let status = sys::wait_child(self.broker);
        if status != 0 {
            let mut note = [0u64; 2];
            if sys::read_note(self.note, &mut note) && note[1] != 0 {
                sys::answer_call(note[0] as i32, note[1], ENOBUFS);
            } else {
                self.refuse();
            }
        }
        sys::close(self.link);
        sys::close(self.note);
        (self.broker, self.link, self.note) = (0, -1, -1);
    }

    /// No broker can be had: the call is answered here, or the guard would be woken by it again and again.
    fn refuse(&mut self) {
        let mut listener = [PollFd { fd: self.cause, events: EPOLLIN as i16, revents: 0 }];
        if sys::poll_now(&mut listener) > 0
            && listener[0].revents & EPOLLIN as i16 != 0
            && let Some(id) = sys::receive_call(self.cause)
        {
            sys::answer_call(self.cause, id, ENOBUFS);
        }
    }
}
