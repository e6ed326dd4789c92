import type { ConnectionId } from '../../model/ids.ts';
import { type AttachMode, leaseMs } from '../../model/terminal.ts';

/** Who may hold a lease: one connection; `key` stands for its actor and credential, by which it comes back. */
export type Driver = { readonly connection: ConnectionId; readonly key: string };

export type Lease = {
  /** The connection that holds it, or held it when it was last here. */
  readonly holder: ConnectionId;
  readonly key: string;
  /** Whether the holder is connected. */
  readonly present: boolean;
  /** When it lapses, on the clock that never goes back. */
  readonly until: number;
};

/** In exclusive mode at most one, in collaborative mode at most one for each driver. Lapsed ones count for nothing. */
export type Leases = readonly Lease[];

export type Granted =
  /** `from` is whose lease it was. */
  | {
      readonly outcome: 'granted';
      readonly leases: Leases;
      readonly lease: Lease;
      readonly from: Lease | null;
    }
  /** It has it already. */
  | { readonly outcome: 'holds'; readonly lease: Lease }
  | { readonly outcome: 'held'; readonly by: Lease };

export function leaseOf(leases: Leases, connection: ConnectionId, now: number): Lease | null {
  return leases.find((lease) => lease.present && lease.holder === connection && lease.until > now) ?? null;
}

/** Whose lease keeps others from driving; null in collaborative mode. */
export function exclusiveHolder(leases: Leases, mode: AttachMode, now: number): Lease | null {
  return mode === 'exclusive' ? (leases.find((lease) => lease.until > now) ?? null) : null;
}

/**
 * A lease for a driver: a free one, its own from before a break, or with `takeover` that of whoever has it. In
 * collaborative mode every driver's is its own.
 */
export function grantLease(
  leases: Leases,
  mode: AttachMode,
  driver: Driver,
  { takeover, now }: { readonly takeover: boolean; readonly now: number },
): Granted {
  const own = leaseOf(leases, driver.connection, now);
  if (own !== null) return { outcome: 'holds', lease: own };
  const holder = exclusiveHolder(leases, mode, now);
  const back = holder !== null && comesBack(holder, driver);
  if (holder !== null && !back && !takeover) return { outcome: 'held', by: holder };
  return granted(leases, mode, driver, holder, now);
}

/** Gives the lease of exclusive mode to another driver, whoever has it, or nobody. */
export function handLease(leases: Leases, driver: Driver, now: number): Granted {
  const own = leaseOf(leases, driver.connection, now);
  if (own !== null) return { outcome: 'holds', lease: own };
  return granted(leases, 'exclusive', driver, exclusiveHolder(leases, 'exclusive', now), now);
}

/** Whether a lease is the driver's own, from a connection that broke. */
export function comesBack(lease: Lease, { key }: Driver): boolean {
  return !lease.present && lease.key === key;
}

export function renewLease(leases: Leases, connection: ConnectionId, now: number): Leases {
  return leases.map((lease) =>
    lease.holder === connection && lease.present && lease.until > now
      ? { ...lease, until: now + leaseMs }
      : lease,
  );
}

/** The holder has gone; the lease is kept for it until it lapses. */
export function leaveLease(leases: Leases, connection: ConnectionId): Leases {
  return leases.map((lease) => (lease.holder === connection ? { ...lease, present: false } : lease));
}

export function dropLease(leases: Leases, connection: ConnectionId): Leases {
  return leases.filter((lease) => lease.holder !== connection);
}

export function lapsedLeases(leases: Leases, now: number): Leases {
  return leases.filter((lease) => lease.until <= now);
}

function granted(
  leases: Leases,
  mode: AttachMode,
  { connection, key }: Driver,
  from: Lease | null,
  now: number,
): Granted {
  const lease = { holder: connection, key, present: true, until: now + leaseMs };
  const others =
    mode === 'exclusive' ? [] : leases.filter((other) => other.holder !== connection && other.until > now);
  return { outcome: 'granted', leases: [...others, lease], lease, from };
}
