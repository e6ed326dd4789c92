import type { Authority } from '../base/certificates.ts';
import type { EgressPolicy } from '../model/egress.ts';
import type { ProxyKind } from '../model/gateway-address.ts';
import type { RunId } from '../model/ids.ts';

/** A socket that waits inside a sandbox's network, for every address there; a proxy's for the gateway's own alone. */
export type Listener = {
  readonly transport: 'tcp' | 'udp';
  readonly port: number;
  readonly proxy: ProxyKind | null;
  /** Of this process; it stays the sandbox's, who passes it on keeps a copy. */
  readonly fd: number;
};

/** What answers at the listeners of every sandbox of a host: the one way out there is. */
export type Gateway = {
  /**
   * Takes the listeners of a sandbox that is being prepared, and the authority that it alone trusts. Nothing gets
   * through before `admit`.
   */
  open(listeners: readonly Listener[], authority: Authority): Door;
};

/** One sandbox's way out. */
export type Door = {
  /**
   * Lets a run through as its policy says, from when this resolves, and cuts what it does not allow any more.
   * `listeners` are those that have come since the last call. Rejects while there is no gateway.
   */
  admit(run: RunId, policy: EgressPolicy, listeners: readonly Listener[]): Promise<void>;
  /** Cuts everything; resolves when the gateway has let go of the listeners and told how each flow ended. */
  close(): Promise<void>;
};

/** The ports that are answered in every sandbox, whatever its policy; with the ports of the policy these are all. */
export const standingPorts = [22, 53, 80, 443] as const;
export const dnsPort = 53;

/** The proxies of every sandbox. */
export const standingProxies = ['http', 'socks'] as const satisfies readonly ProxyKind[];
