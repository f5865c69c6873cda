/**
 * Mailboxes as the API sees them: create, look at, change, delete. It checks and records; it never connects to a mail server.
 */
import { AppError } from '../errors.ts';
import { mailboxId } from '../identity.ts';
import type { Credentials } from './credentials.ts';
import {
  freshStatus,
  stateOf,
  type Mailbox,
  type MailboxRef,
  type MailboxSettings,
  type MailboxSource,
} from './mailbox.ts';
import type { MailboxStore } from './mailbox-store.ts';
import type { ScheduleSettings } from './policies.ts';
import { describeGrant } from './oauth2/grant.ts';
import { checkGrant, hasCertificates, invalidSource, maildropOf, unreadableCertificates } from './source.ts';

export interface NewMailbox {
  /** Tells a second mailbox on the same maildrop from the first; null unless there is one. */
  alias: string | null;
  settings: Omit<MailboxSettings, 'oauth2'>;
  credentials: Credentials;
}

/** What is given is changed. */
export interface MailboxChange {
  settings: Partial<Omit<MailboxSettings, 'source' | 'oauth2'>> & { source?: Partial<MailboxSource> };
  credentials: Credentials | null;
}

export interface MailboxServicePorts {
  clock: { now(): number };
  mailboxes: MailboxStore;
  /** @throws AppError `egress_blocked`. */
  checkEgress(target: { host: string; port: number }): void;
  /** @throws AppError `egress_blocked`. */
  checkTokenEndpoint(url: string): unknown;
  schedule: {
    /** @throws AppError `invalid_request`. */
    check(schedule: ScheduleSettings): void;
    /** Fetches it by its schedule from now on; not at all where it has none or is paused. */
    plan(mailbox: Mailbox): Promise<void>;
    forget(ref: MailboxRef): Promise<void>;
  };
  /** Called when its owner has changed what state it is in. */
  onStateChanged(mailbox: Mailbox): Promise<void>;
  /** Called before it is deleted. Whether it then is, or was there, is not known yet. */
  beforeDelete(ref: MailboxRef): Promise<void>;
}

export interface MailboxService {
  /** @throws AppError `egress_blocked`, `invalid_request`; `conflict` where there is one by that id. */
  create(tenant: string, wanted: NewMailbox): Promise<Mailbox>;
  find(ref: MailboxRef): Promise<Mailbox | null>;
  list(tenant: string, after: string | null, limit: number): Promise<{ items: Mailbox[]; next: string | null }>;
  /** Null where there is none. @throws AppError as `create`. */
  change(ref: MailboxRef, change: MailboxChange): Promise<Mailbox | null>;
  /** Its messages stay until their time is over. False where there is none. */
  delete(ref: MailboxRef): Promise<boolean>;
  /** Other mailboxes that point at the same maildrop: they take turns. */
  listSharing(mailbox: Mailbox): Promise<string[]>;
}

export function createMailboxService(ports: MailboxServicePorts): MailboxService {
  const { clock, mailboxes, schedule } = ports;

  function check({ source, schedule: wanted, oauth2 }: MailboxSettings): void {
    ports.checkEgress(source);
    if (oauth2) checkGrant(oauth2, source.tls, ports.checkTokenEndpoint);
    if (source.ca !== null && !hasCertificates(source.ca)) throw unreadableCertificates();
    if (wanted !== null) schedule.check(wanted);
  }

  return {
    async create(tenant, { alias, settings: given, credentials }) {
      const settings = withFacts(given, credentials);
      check(settings);
      const maildrop = maildropOf(tenant, settings.source);
      const mailbox = alias === null ? maildrop : mailboxId(tenant, settings.source, alias);
      const now = new Date(clock.now()).toISOString();
      const created: Mailbox = { tenant, mailbox, settings, status: freshStatus(now), createdAt: now, updatedAt: now };
      if (!(await mailboxes.create(created, credentials))) throw exists(mailbox);
      await schedule.plan(created);
      return created;
    },
    find: (ref) => mailboxes.find(ref),
    list: (tenant, after, limit) => mailboxes.list(tenant, after, limit),
    async change(ref, { settings: wanted, credentials }) {
      let before: string | null = null;
      const changed = await mailboxes.change(ref, (read) => {
        before = stateOf(read);
        const source = { ...read.settings.source, ...wanted.source };
        const merged = { ...read.settings, ...wanted, source };
        const settings = credentials === null ? merged : withFacts(merged, credentials);
        check(settings);
        // Whoever may change a mailbox must not have its password sent to a server of their own.
        if (credentials === null && isElsewhere(read.settings.source, source)) throw needsCredentials();
        const now = new Date(clock.now()).toISOString();
        const isRenewed = credentials !== null || wanted.source !== undefined || wanted.isPaused === false;
        const status = isRenewed ? { ...freshStatus(now), lastFetch: read.status.lastFetch } : read.status;
        return { mailbox: { ...read, settings, status, updatedAt: now }, credentials };
      });
      if (!changed) return null;
      await schedule.plan(changed);
      if (stateOf(changed) !== before) await ports.onStateChanged(changed);
      return changed;
    },
    async delete(ref) {
      await schedule.forget(ref);
      await ports.beforeDelete(ref);
      return mailboxes.delete(ref);
    },
    listSharing: (mailbox) => mailboxes.listSharing(mailbox),
  };
}

function withFacts(settings: MailboxSettings, credentials: Credentials): MailboxSettings {
  const { oauth2: _before, ...rest } = settings;
  return credentials.type === 'oauth2' ? { ...rest, oauth2: describeGrant(credentials.grant) } : rest;
}

function isElsewhere(was: MailboxSource, now: MailboxSource): boolean {
  return (
    was.host !== now.host ||
    was.port !== now.port ||
    was.username !== now.username ||
    was.ca !== now.ca ||
    (was.tls !== now.tls && now.tls !== 'implicit')
  );
}

function exists(mailbox: string): AppError {
  const text = `There is a mailbox ${mailbox} for this maildrop. Change it, or give an alias to have a second one.`;
  return new AppError('conflict', text);
}

function needsCredentials(): AppError {
  return invalidSource('/credentials', 'must be given anew where the host, port, user, TLS mode or authority changes');
}
