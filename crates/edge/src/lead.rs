//! A GET that found nothing to serve: it leads a fill, follows one, or asks the origin for itself.
//!
//! A leader fetches within its own request, so that what turns out uncacheable is passed on as if
//! there were no cache. Only when its client goes away while others follow, or the body is to be
//! stored and does not come at once, a task goes on in its place.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fractus_cache::{
    CacheKey, CacheStatus, Exchange, Forward, NotStored, Policy, Refreshed, RequestDirectives,
    Timestamp, is_stale_if_error_status, storable, strip_conditions,
};
use fractus_func::{Body, BodyError, BoxFuture, RequestId};
use fractus_stdx::ErrorChain;
use http::header::{AGE, CONTENT_LENGTH, DATE, RANGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;

use crate::Origin;
use crate::answer::{Length, REQUEST_ID, Refusal, clean, seal};
use crate::body::{self, Kind};
use crate::edge::Shared;
use crate::fill::{Fill, Pushed, Reader, Stage};
use crate::limits::{ATTEMPTS, INLINE_FRAMES};
use crate::present::{self, Extent, Wish};
use crate::store::{self, Asker, Begin, Head, Lead, Query, Store, Stored};

/// A GET, in everything that answering it takes.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) shared: Arc<Shared>,
    pub(crate) origin: Arc<dyn Origin>,
    pub(crate) generation: u64,
    pub(crate) id: RequestId,
    pub(crate) key: CacheKey,
    pub(crate) says: RequestDirectives,
    /// The fields that the client sent.
    pub(crate) client: HeaderMap,
    /// The head that the origin gets, the client's conditions included.
    pub(crate) ask: request::Parts,
}

/// What a leader's fetch has come to.
enum Outcome {
    /// An answer that is stored.
    Stored(Arc<Stored>, CacheStatus<'static>),
    /// One on its way into the store.
    Streaming(Arc<Head>, Reader, CacheStatus<'static>),
    /// One for this client alone.
    Alone(Response<Kind>, CacheStatus<'static>),
    /// One too large to be stored.
    TooLarge(Response<Kind>, CacheStatus<'static>),
    /// None.
    Refused(Refusal, CacheStatus<'static>),
}

impl Errand {
    /// Answers, given how it begins. [`Begin::Lead`] has become a leader by then, so that it cannot
    /// get lost.
    pub(crate) async fn answer(self: Arc<Self>, mut next: Step) -> Response<Kind> {
        for _ in 1..ATTEMPTS {
            let (fill, reason) = match next {
                Step::Done(response) => return response,
                Step::Pass(reason) => return self.pass(reason).await,
                Step::Lead(leader) => return self.lead(leader).await,
                Step::Follow(following, reason) => (following, reason),
            };
            if let Some(response) = self.follow(fill, reason).await {
                return response;
            }
            next = Step::of(&self, self.begin());
        }
        match next {
            Step::Done(response) => response,
            Step::Lead(leader) => self.lead(leader).await,
            Step::Pass(reason) | Step::Follow(_, reason) => self.pass(reason).await,
        }
    }

    fn begin(&self) -> Begin {
        let query = Query {
            headers: &self.client,
            says: self.says,
            generation: self.generation,
            may_fill: true,
        };
        self.store().begin(&self.key, query, store::now())
    }

    fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    fn wish(&self) -> Wish<'_> {
        Wish {
            method: &Method::GET,
            headers: &self.client,
            id: self.id,
            now: store::now(),
        }
    }

    /// Asks the origin for this client alone.
    async fn pass(&self, reason: Forward) -> Response<Kind> {
        let request = http::Request::from_parts(self.ask.clone(), body::empty());
        let mut response = self.origin.fetch(request, self.id).await;
        let status = CacheStatus::forward(reason).forward_status(response.status());
        if !clean(&mut response, &Method::GET) {
            return self.refuse(Refusal::BadOrigin, &status);
        }
        seal(response.headers_mut(), self.id, &status);
        response.map(Kind::Origin)
    }

    fn refuse(&self, refusal: Refusal, status: &CacheStatus<'_>) -> Response<Kind> {
        let mut response = refusal.answer();
        seal(response.headers_mut(), self.id, status);
        response
    }

    async fn lead(&self, leader: Leader) -> Response<Kind> {
        match leader.run().await {
            Outcome::Stored(stored, status) => present::stored(&stored, self.wish(), &status),
            Outcome::Streaming(head, reader, status) => self.stream(&head, reader, &status),
            // The origin was asked for all of it; a part is cheaper to ask for again.
            Outcome::TooLarge(_, _) if self.client.contains_key(RANGE) => {
                self.pass(Forward::UriMiss).await
            }
            Outcome::Alone(mut response, status) | Outcome::TooLarge(mut response, status) => {
                seal(response.headers_mut(), self.id, &status);
                response
            }
            Outcome::Refused(refusal, status) => self.refuse(refusal, &status),
        }
    }

    fn stream(&self, head: &Head, reader: Reader, status: &CacheStatus<'_>) -> Response<Kind> {
        let length = Length::of(&head.headers).known();
        let (head, extent) = present::head(head, length, self.wish(), status, false);
        head.map(|()| match extent {
            Extent::Nothing => Kind::Empty,
            Extent::Whole => Kind::Fill(reader),
            Extent::Part { first, last } => Kind::Fill(reader.narrow(first, last)),
        })
    }

    /// Answers from another request's fill. `None` if its answer is for other requests than this.
    async fn follow(&self, following: Following, reason: Forward) -> Option<Response<Kind>> {
        let fill = &following.0;
        let wait = self.shared.config.follower_wait;
        let status = CacheStatus::forward(reason).collapsed();
        let selects = |head: &Head| head.policy.vary().matches(&self.client);
        match tokio::time::timeout(wait, fill.stage()).await {
            Ok(Stage::Streaming(head)) if selects(&head) => {
                let length = Length::of(&head.headers).known();
                match fill.read(length) {
                    Some(reader) => Some(self.stream(&head, reader, &status)),
                    None => Some(self.pass(reason).await),
                }
            }
            Ok(Stage::Settled(stored)) if selects(&stored.head) => {
                Some(present::stored(&stored, self.wish(), &status))
            }
            Ok(Stage::Streaming(_) | Stage::Settled(_)) => None,
            Ok(Stage::Asked | Stage::Released) | Err(_) => Some(self.pass(reason).await),
        }
    }
}

/// [`Begin`], with hits answered and duties in guards.
pub(crate) enum Step {
    Done(Response<Kind>),
    Pass(Forward),
    Lead(Leader),
    Follow(Following, Forward),
}

impl Step {
    pub(crate) fn of(errand: &Arc<Errand>, begin: Begin) -> Self {
        match begin {
            Begin::Serve(stored) => Self::Done(hit(&stored, errand.wish())),
            Begin::ServeAndRefresh(stored, lead) => {
                Leader::new(errand, lead).refresh();
                Self::Done(hit(&stored, errand.wish()))
            }
            Begin::Lead(lead) => Self::Lead(Leader::new(errand, lead)),
            Begin::Follow(fill, reason) => Self::Follow(Following(fill), reason),
            Begin::Pass(reason, _) => Self::Pass(reason),
            Begin::NotCached(reason) => {
                let status = CacheStatus::forward(reason);
                Self::Done(errand.refuse(Refusal::NotCached, &status))
            }
        }
    }
}

/// A stored answer, served as it is.
pub(crate) fn hit(stored: &Arc<Stored>, wish: Wish<'_>) -> Response<Kind> {
    let ttl = stored.head.policy.ttl(wish.now);
    present::stored(stored, wish, &CacheStatus::hit(ttl))
}

/// Counts as a follower of a fill.
#[derive(Debug)]
pub(crate) struct Following(Arc<Fill>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.remove_follower();
    }
}

/// Fetches for a fill. Dropped before the head has come, it leaves the fetch to a task if others
/// follow, and ends it if not.
pub(crate) struct Leader {
    errand: Arc<Errand>,
    fill: Arc<Fill>,
    stale: Option<Arc<Stored>>,
    reason: Forward,
    asked: Option<BoxFuture<'static, Response<Body>>>,
    requested: Timestamp,
    /// Nothing is left to do about the fill.
    done: bool,
    /// Goes on for a leader that has gone; nobody goes on for it.
    is_heir: bool,
}

impl Leader {
    fn new(errand: &Arc<Errand>, lead: Lead) -> Self {
        Self {
            errand: Arc::clone(errand),
            fill: lead.fill,
            stale: lead.stale,
            reason: lead.reason,
            asked: None,
            requested: Timestamp::default(),
            done: false,
            is_heir: false,
        }
    }

    /// Goes on without a client.
    fn refresh(self) {
        drop(tokio::spawn(async move { drop(self.run().await) }));
    }

    async fn run(mut self) -> Outcome {
        loop {
            let response = self.fetch().await;
            if let Some(outcome) = self.judge(response).await {
                return outcome;
            }
        }
    }

    async fn fetch(&mut self) -> Response<Body> {
        let asked = match &mut self.asked {
            Some(asked) => asked,
            none => {
                let mut parts = self.errand.ask.clone();
                match &self.stale {
                    Some(stale) => stale.head.policy.add_conditions(&mut parts.headers),
                    None => strip_conditions(&mut parts.headers),
                }
                self.requested = store::now();
                let request = http::Request::from_parts(parts, body::empty());
                none.insert(self.errand.origin.fetch(request, self.errand.id))
            }
        };
        let response = asked.await;
        self.asked = None;
        response
    }

    fn status(&self, response: &Response<Body>) -> CacheStatus<'static> {
        CacheStatus::forward(self.reason).forward_status(response.status())
    }

    /// `None`: ask again, without conditions.
    async fn judge(&mut self, response: Response<Body>) -> Option<Outcome> {
        let (parts, body) = response.into_parts();
        let received = store::now();
        let exchange = Exchange {
            method: &Method::GET,
            request: &self.errand.client,
            status: parts.status,
            response: &parts.headers,
            requested: self.requested,
            received,
        };
        if let Some(stale) = &self.stale {
            if parts.status == StatusCode::NOT_MODIFIED {
                let stored = &stale.head.headers;
                let refreshed = stale.head.policy.on_not_modified(stored, &exchange);
                return self.confirm(refreshed);
            }
            let policy = &stale.head.policy;
            if is_stale_if_error_status(parts.status)
                && policy.may_serve_on_error(received, &self.errand.says)
            {
                let stale = Arc::clone(stale);
                let status = CacheStatus::forward(self.reason).forward_status(parts.status);
                self.settle(&stale);
                return Some(Outcome::Stored(stale, status.detail("stale-if-error")));
            }
        }
        let judged = storable(&exchange);
        let mut response = Response::from_parts(parts, body);
        let status = self.status(&response);
        if !clean(&mut response, &Method::GET) {
            self.release();
            return Some(Outcome::Refused(Refusal::BadOrigin, status));
        }
        Some(match judged {
            Ok(policy) => self.store(response, policy, status).await,
            Err(why) => {
                self.leave_unstored(why, response.status());
                Outcome::Alone(response.map(Kind::Origin), status.detail(why.token()))
            }
        })
    }

    /// The stale answer is good again, under new fields.
    fn confirm(&mut self, refreshed: Option<Refreshed>) -> Option<Outcome> {
        let stale = self.stale.take()?;
        let Refreshed { headers, policy } = refreshed?;
        self.errand.store().count_revalidation(&self.errand.key);
        let status = CacheStatus::forward(self.reason).forward_status(StatusCode::NOT_MODIFIED);
        let head = stale.head.status;
        match policy {
            Ok(policy) => {
                let head = Head {
                    status: head,
                    headers: to_store(headers, Some(stale.body.len())),
                    policy,
                };
                let stored = Arc::new(Stored {
                    head: Arc::new(head),
                    body: stale.body.clone(),
                    era: self.fill.era,
                });
                let errand = &self.errand;
                errand.store().complete(&errand.key, &self.fill, &stored);
                self.settle(&stored);
                Some(Outcome::Stored(stored, status.stored()))
            }
            Err(why) => {
                self.stale = Some(Arc::clone(&stale));
                self.leave_unstored(why, head);
                let mut response = Response::new(stale.body.whole());
                *response.status_mut() = head;
                *response.headers_mut() = headers;
                Some(Outcome::Alone(response, status.detail(why.token())))
            }
        }
    }

    /// Gives all that follow a stored answer.
    fn settle(&mut self, stored: &Arc<Stored>) {
        self.done = true;
        self.fill.publish(Stage::Settled(Arc::clone(stored)));
        self.errand.store().end_fill(&self.errand.key, &self.fill);
    }

    /// Ends the fill with nothing; followers ask for themselves.
    fn release(&mut self) {
        self.done = true;
        self.errand.store().end_fill(&self.errand.key, &self.fill);
        self.fill.publish(Stage::Released);
    }

    /// Ends the fill with an answer that may not be stored. If that is the request's doing nothing
    /// changes for others: it must not be in a client's hands what they find stored.
    fn leave_unstored(&mut self, why: NotStored, status: StatusCode) {
        if !why.is_of_request() {
            return self.refuse_to_store(status);
        }
        if why == NotStored::Authorization {
            self.mark_uncacheable(Asker::Authorized);
        }
        self.release();
    }

    fn mark_uncacheable(&self, asker: Asker) {
        let errand = &self.errand;
        errand
            .store()
            .mark_uncacheable(&errand.key, &self.fill, asker);
    }

    /// Ends the fill with nothing, and later requests do not wait for each other. What is stale by
    /// now has been replaced by something that may not be stored, unless the origin only failed.
    /// What is fresh stays: the client alone wanted another, and its fields may have made it unfit.
    fn refuse_to_store(&mut self, status: StatusCode) {
        if self.reason == Forward::Request {
            return self.release();
        }
        let errand = &self.errand;
        if let Some(stale) = self.stale.take().filter(|_| !status.is_server_error()) {
            errand.store().remove(&errand.key, &stale);
        }
        self.mark_uncacheable(Asker::Anyone);
        self.release();
    }

    /// Brings an answer into the store, and to all who want it meanwhile.
    async fn store(
        &mut self,
        response: Response<Body>,
        policy: Policy,
        status: CacheStatus<'static>,
    ) -> Outcome {
        let said = Length::of(response.headers());
        let exact = http_body::Body::size_hint(response.body()).exact();
        let length = said.known().or(exact);
        let object_max = self.errand.store().object_max;
        if said == Length::Unreadable || length.is_some_and(|length| length > object_max) {
            self.refuse_to_store(response.status());
            let status = status.detail("too-large");
            return Outcome::TooLarge(response.map(Kind::Origin), status);
        }
        if self.stale.take().is_some() {
            self.errand.store().count_revalidation(&self.errand.key);
        }
        let (parts, body) = response.into_parts();
        let head = Arc::new(Head {
            status: parts.status,
            headers: to_store(parts.headers, length),
            policy,
        });
        self.done = true;
        self.errand.store().count_fill(&self.errand.key);
        let reader = self.fill.read(length);
        let reader = reader.expect("no piece has gone before the first came");
        self.fill.publish(Stage::Streaming(Arc::clone(&head)));
        let pump = Pump {
            errand: Arc::clone(&self.errand),
            fill: Arc::clone(&self.fill),
            head: Arc::clone(&head),
            length,
            body,
            passing: false,
            ended: false,
            stored: None,
        };
        let status = status.stored();
        match pump.start().await {
            Some(stored) => Outcome::Stored(stored, status),
            None => Outcome::Streaming(head, reader, status),
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let errand = &self.errand;
        let heir_wanted = !self.is_heir && Handle::try_current().is_ok();
        let ended = errand
            .store()
            .end_fill_unless(&errand.key, &self.fill, |fill| {
                heir_wanted && fill.has_followers()
            });
        if ended {
            self.fill.publish(Stage::Released);
            return;
        }
        let heir = Self {
            errand: Arc::clone(errand),
            fill: Arc::clone(&self.fill),
            stale: self.stale.take(),
            asked: self.asked.take(),
            is_heir: true,
            ..*self
        };
        heir.refresh();
    }
}

/// The fields to serve: those of this exchange alone go, those that every answer must have come.
fn to_store(mut headers: HeaderMap, length: Option<u64>) -> HeaderMap {
    headers.remove(AGE);
    headers.remove(REQUEST_ID);
    // It names the trace of whoever asked first.
    headers.remove("x-amzn-trace-id");
    if !headers.contains_key(DATE) {
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        headers.insert(DATE, HeaderValue::from_str(&date).expect("a date is ASCII"));
    }
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers
}

/// Takes an origin's body into a fill, and the fill into the store.
struct Pump {
    errand: Arc<Errand>,
    fill: Arc<Fill>,
    head: Arc<Head>,
    /// As the head gives it.
    length: Option<u64>,
    body: Body,
    /// Whether it has turned out too large to be stored.
    passing: bool,
    ended: bool,
    /// What has been stored at the end.
    stored: Option<Arc<Stored>>,
}

impl Pump {
    /// Takes what has come already; makes a task for the rest. Returns what is stored, if all of it
    /// is there.
    async fn start(mut self) -> Option<Arc<Stored>> {
        std::future::poll_fn(|cx| {
            self.take_ready(cx);
            Poll::Ready(())
        })
        .await;
        if !self.ended {
            drop(tokio::spawn(self.run()));
            return None;
        }
        self.stored.take()
    }

    fn take_ready(&mut self, cx: &mut Context<'_>) {
        for _ in 0..INLINE_FRAMES {
            let Poll::Ready(frame) = http_body::Body::poll_frame(Pin::new(&mut self.body), cx)
            else {
                return;
            };
            self.take(frame);
            if self.ended || self.passing {
                return;
            }
        }
    }

    async fn run(mut self) {
        let fill = Arc::clone(&self.fill);
        // One for all pieces: an origin that trickles must not begin its time anew with each.
        let patience = self.errand.shared.config.abandoned_wait;
        let mut abandoned = pin!(fill.abandoned(patience));
        while !self.ended {
            if !fill.room().await {
                return;
            }
            let frame = tokio::select! {
                frame = self.body.frame() => frame,
                () = &mut abandoned => return,
            };
            self.take(frame);
        }
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) {
        match frame {
            // Trailers end here.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.push(data);
                }
            }
            Some(Err(error)) => self.end(Err(error)),
            None => match self.fill.body(self.length) {
                Err(error) => self.end(Err(error)),
                Ok(None) => self.end(Ok(())),
                Ok(Some(body)) => {
                    let stored = Arc::new(Stored {
                        head: Arc::clone(&self.head),
                        body,
                        era: self.fill.era,
                    });
                    let errand = &self.errand;
                    errand.store().complete(&errand.key, &self.fill, &stored);
                    self.stored = Some(stored);
                    self.end(Ok(()));
                }
            },
        }
    }

    fn push(&mut self, data: Bytes) {
        let errand = &self.errand;
        let max = errand.store().object_max;
        if self.fill.push(data, max) == Pushed::Passing && !self.passing {
            self.passing = true;
            errand
                .store()
                .mark_uncacheable(&errand.key, &self.fill, Asker::Anyone);
        }
    }

    fn end(&mut self, end: Result<(), BodyError>) {
        let errand = &self.errand;
        if let Err(error) = &end {
            tracing::debug!(error = %ErrorChain(&error), request = %errand.id, "an answer broke off");
        }
        errand.store().end_fill(&errand.key, &self.fill);
        self.fill.end(end);
        self.ended = true;
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Err(BodyError::Disconnected));
        }
    }
}
