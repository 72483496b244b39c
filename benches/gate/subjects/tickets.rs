//! A ticket's life in the embedded store: each transition is a compare-and-set in a transaction of its own.

use menshen::store::{Confirmation, NewTicket, SessionRow, Store, TicketState};

use crate::support::World;

/// A store, and a number for the next ticket.
pub struct Tickets {
    store: Store,
    user: String,
    next: u64,
}

impl Tickets {
    pub async fn of(world: &World) -> Self {
        let mut browser = world.browser();
        browser.log_in("lilei").await;
        let info = browser.fetch("GET", "/.menshen/userinfo").await.expect(200).json();
        Self {
            store: world.store().await,
            user: info["sub"].as_str().expect("a user").to_owned(),
            next: 0,
        }
    }

    /// Scanned, confirmed, redeemed.
    pub async fn whole_life(&mut self) {
        self.next += 1;
        let id = format!("{:032}", self.next);
        let handle = id.clone().into_bytes();
        assert!(self.store.ticket_scan(&scan(&id, &handle)).await.expect("the store"));
        let leased = self.store.ticket_lease(&id, &handle, "lease", NOW + 40, NOW).await;
        assert!(leased.expect("the store"));
        let confirmation = Confirmation {
            user_id: self.user.clone(),
            choice: Some(47),
            phone_note: None,
            confirmed_at: NOW,
            expires_at: NOW + 60,
        };
        let confirmed = self.store.ticket_confirm(&id, "lease", &confirmation).await;
        assert!(confirmed.expect("the store"));
        let redeemed = self.store.ticket_redeem(&id, NOW, &self.session(&id)).await;
        assert!(redeemed.expect("the store"));
    }

    /// What a waiting page asks.
    pub async fn look(&self) {
        let id = format!("{:032}", self.next);
        let ticket = self.store.ticket(&id).await.expect("the store").expect("a ticket");
        assert_eq!(ticket.state, TicketState::Redeemed);
    }

    fn session(&self, id: &str) -> SessionRow {
        SessionRow {
            id: id.to_owned(),
            user_id: self.user.clone(),
            connection: "staff".to_owned(),
            site: "Wiki".to_owned(),
            host: "wiki.test".to_owned(),
            device: "{}".to_owned(),
            address: "203.0.113.7".to_owned(),
            place: None,
            ticket: Some(id.to_owned()),
            created_at: NOW,
            auth_time: NOW,
            expires_at: NOW + 1_000_000,
            last_used_at: NOW,
            ended_at: None,
            parent: None,
        }
    }
}

fn scan(id: &str, handle: &[u8]) -> NewTicket {
    NewTicket {
        id: id.to_owned(),
        connection: "staff".to_owned(),
        app_id: "wx0123456789abcdef".to_owned(),
        openid: "oAbCdEfGhIjKlMnOpQrStUvWxYz0".to_owned(),
        unionid: None,
        handle_hash: handle.to_vec(),
        entry: Some(1047),
        phone_address: "203.0.113.8".to_owned(),
        phone_agent: "MicroMessenger".to_owned(),
        created_at: NOW,
        scanned_at: NOW,
        expires_at: NOW + 120,
    }
}

const NOW: i64 = 1_795_172_739;
