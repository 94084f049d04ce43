-- The file of gigq_nb, version 1. Times are integer UTC milliseconds; payloads are pickled and signed, and stand in
-- tables of their own, so that a scan of a million jobs reads none of them.

-- Who may run a job: whose key signed it, which Python, which environment.
create table runtimes (
  id      integer primary key,
  key_id  text not null,
  python  text not null,
  prefix  text not null,
  unique (key_id, python, prefix)
) strict;

-- A function once per content, however many jobs use it.
create table functions (
  id       integer primary key autoincrement,       -- never used again: workers and submitters remember it
  digest   blob not null unique check (length(digest) = 32),
  name     text not null,
  payload  blob,                                    -- NULL: in the file named by the digest
  size     integer not null,
  source   text not null default '',
  cells    text not null default '{}'               -- JSON {file name of a cell: its text}, for tracebacks
) strict;

-- A function with a name, a place to start in and options, once per content.
create table tasks (
  id        integer primary key autoincrement,
  digest    blob not null unique check (length(digest) = 32),
  function  integer not null references functions(id),
  name      text not null check (length(name) between 1 and 200),
  folder    text not null,
  sys_path  text not null,                          -- JSON list
  notebook  text,
  cell      text,
  options   text not null                           -- JSON, see gigq_nb.job.Options
) strict;
create index tasks_by_name on tasks(name);
create index tasks_of_function on tasks(function);

-- The jobs of one map or one workflow.
create table batches (
  id          integer primary key autoincrement,    -- never used again: whoever waits for a batch remembers it
  name        text not null check (length(name) between 1 and 200),
  kind        text not null check (kind in ('map', 'workflow')),
  created_at  integer not null,
  notebook    text,
  cell        text
) strict;

-- Kept, not counted: how many jobs of a batch (0: of the whole queue) have each status.
create table counts (
  batch   integer not null,
  status  text not null check (status in ('pending', 'running', 'completed', 'failed', 'timeout', 'cancelled')),
  n       integer not null check (n >= 0),
  primary key (batch, status)
) strict, without rowid;

create table jobs (
  seq           integer primary key,                -- never used again, see store/pruning.py
  id            text not null unique check (length(id) = 36),
  status        text not null default 'pending',
  reason        text check (reason in ('error', 'lost', 'timeout', 'upstream', 'user', 'unserializable', 'damaged')),
  runtime       integer not null references runtimes(id),
  task          integer not null references tasks(id),
  batch         integer references batches(id),
  priority      integer not null default 0 check (priority between -1000000 and 1000000),
  waiting_on    integer not null default 0 check (waiting_on >= 0),
  run_at        integer,                            -- NULL: as soon as possible; compared with no clock
  backoff_ms    integer check (backoff_ms >= 0),    -- how far off run_at can be at most, if it is a retry
  held          integer not null default 0 check (held >= 0),   -- not 0: not ready. No move sets it yet
  attempts      integer not null default 0 check (attempts >= 0),
  max_attempts  integer not null check (max_attempts >= 1),
  losses        integer not null default 0 check (losses >= 0),
  runs          integer not null default 0 check (runs >= attempts),  -- executions so far, charged or not
  execution     integer,                            -- the open attempt: the lease
  created_at    integer not null,
  started_at    integer,
  finished_at   integer,
  -- What each status means, in one expression: it is evaluated at each move, and one CASE costs a third of six CHECKs.
  constraint a_job_is_what_its_status_says check (case status
    when 'pending' then execution is null and finished_at is null and reason is null
    when 'running' then execution is not null and finished_at is null and reason is null and waiting_on = 0 and run_at is null
    when 'completed' then execution is null and finished_at is not null and reason is null and run_at is null
    when 'failed' then execution is null and finished_at is not null and reason is not null and run_at is null
    when 'timeout' then execution is null and finished_at is not null and reason is not null and run_at is null
    when 'cancelled' then execution is null and finished_at is not null and reason is not null and run_at is null
    else false end)
) strict;

-- Ready jobs in the order in which they are claimed. The other indexes stand on columns that a claim and a success do
-- not touch, so that these two moves pay for this one only.
create index jobs_ready on jobs(runtime, priority desc)
  where status = 'pending' and waiting_on = 0 and run_at is null and held = 0;
create index jobs_delayed on jobs(run_at) where run_at is not null;
create index jobs_of_batch on jobs(batch) where batch is not null;
create index jobs_unsuccessful on jobs(reason) where reason is not null;

-- The lifecycle, as in states.py: any other change of status is a bug, and is refused.
create trigger jobs_lifecycle after update of status on jobs
when not case old.status
  when 'pending' then new.status in ('running', 'pending', 'cancelled')
  when 'running' then new.status in ('completed', 'pending', 'failed', 'timeout', 'cancelled', 'running')
  when 'completed' then new.status = 'completed'
  else new.status = 'pending' or new.status = old.status end
begin
  select raise(abort, 'illegal move of a job''s status');
end;

-- Running jobs that a person wants to be stopped; their worker does it.
create table cancellations (
  job  integer primary key references jobs(seq) on delete cascade
) strict;

create table arguments (
  job        integer primary key references jobs(seq) on delete cascade,
  payload    blob,                                  -- NULL: in the file named by the job's id
  size       integer not null,
  signature  blob not null
) strict;

-- What a user called one submit: submitted with the same key again, it is found and not stored a second time.
create table keys (
  key  text primary key check (length(key) between 1 and 200),
  job  integer not null unique references jobs(seq) on delete cascade
) strict, without rowid;

-- A dependent waits for its parent; on_failure says what the parent's bad end does to it.
create table edges (
  parent      integer not null references jobs(seq),
  child       integer not null references jobs(seq) on delete cascade,
  on_failure  text not null default 'cancel' check (on_failure in ('cancel', 'run')),
  primary key (parent, child)
) strict, without rowid;
create index edges_of_child on edges(child);

-- An attempt. Its id only grows and is the token of the lease: who settles must name it while it is open.
create table executions (
  id           integer primary key autoincrement,
  job          integer not null references jobs(seq) on delete cascade,
  n            integer not null check (n >= 1),
  worker       integer not null references workers(id),
  outcome      text check (outcome in ('completed', 'failed', 'timeout', 'cancelled', 'lost', 'returned')),
  reason       text check (reason in ('error', 'lost', 'timeout', 'upstream', 'user', 'unserializable', 'damaged')),
  charged      integer not null default 1 check (charged in (0, 1)),
  claimed_at   integer not null,
  started_at   integer,
  finished_at  integer,
  arguments    text,                                -- preview, made in the child
  log_dropped  integer not null default 0,          -- bytes left out in the middle of the log
  unique (job, n),
  check ((outcome is null) = (finished_at is null))
) strict;
create index executions_open on executions(worker) where outcome is null;

-- The payload stands last: what stood behind it would be reached only through all its pages.
create table results (
  job        integer primary key references jobs(seq) on delete cascade,
  execution  integer not null,
  size       integer not null,
  signature  blob not null,
  preview    text,
  json       text,                                  -- the value, where it is exactly JSON and small
  payload    blob                                   -- NULL: in the file named by the job's id
) strict;

create table failures (
  execution  integer primary key references executions(id) on delete cascade,
  type       text not null,
  message    text not null,
  traceback  text not null default '',
  payload    blob,                                  -- the exception itself, where it can be pickled
  signature  blob
) strict;

create table logs (
  execution  integer not null references executions(id) on delete cascade,
  part       integer not null,
  text       text not null,
  primary key (execution, part)
) strict, without rowid;

create table outputs (
  execution  integer not null references executions(id) on delete cascade,
  n          integer not null,
  bundle     text not null,                         -- JSON: a MIME bundle, or {"name": …} of a display to replace
  signature  blob not null,
  primary key (execution, n)
) strict, without rowid;

create table progress (
  execution  integer primary key references executions(id) on delete cascade,
  done       real,
  total      real,
  text       text not null default '',
  at         integer not null
) strict;

-- Processes that claim. An id is new at every start and never used again.
create table workers (
  id           integer primary key autoincrement,
  name         text not null unique,
  host         text not null,
  boot_id      text not null,
  pid_ns       integer not null,
  pid          integer not null check (pid >= 1),   -- 1: the first process of a container
  birth        integer not null,                    -- start time of the process, in clock ticks since boot
  python       text not null,
  prefix       text not null,
  key_id       text not null default '',            -- whose jobs it can run
  any_prefix   integer not null default 0 check (any_prefix in (0, 1)),   -- also those of other environments
  concurrency  integer not null check (concurrency >= 1),
  state        text not null default 'running' check (state in ('running', 'stopping', 'gone')),
  terminal     integer not null default 0,          -- 1: started by hand; stays until told to stop
  beat         integer not null default 0,
  beat_at      integer not null,
  started_at   integer not null,
  stopped_at   integer,
  why          text,
  log          text,
  stop         text check (stop in ('gently', 'now'))   -- somebody asked it to stop
) strict;

-- Their children, recorded before they run anything, so that whoever rescues can end them first.
create table children (
  worker  integer not null references workers(id) on delete cascade,
  pid     integer not null check (pid > 1),
  birth   integer not null,
  primary key (worker, pid, birth)
) strict, without rowid;

-- Processes with a connected queue: a worker that was started for them ends when none is alive.
create table kernels (
  id        integer primary key,
  host      text not null,
  boot_id   text not null,
  pid_ns    integer not null,
  pid       integer not null check (pid >= 1),
  birth     integer not null,
  seen_at   integer not null,
  notebook  text,
  unique (boot_id, pid_ns, pid, birth)
) strict;

-- 'paused': since when nothing is claimed (no row: the queue is not paused). 'left ' and a notebook: when its kernel ended.
create table settings (
  name   text primary key,
  value  text not null
) strict, without rowid;
