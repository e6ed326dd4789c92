import type { IncomingMessage } from 'node:http';
import { Fault } from '../contract/faults.ts';
import type { Proxies } from './proxies.ts';

type Request = Pick<IncomingMessage, 'headers' | 'method'> & {
  readonly socket: { readonly remoteAddress?: string | undefined };
};

/** What browsers say about the page that asks, and what of it is refused (CSRF, DNS rebinding). */
export type CrossSite = {
  /** A change, whoever asks: nothing may say that it comes from a page of another origin. */
  refuseForeignChange(request: Request): void;
  /**
   * A request whose cookie a browser added by itself: it must be for a name of this server, nothing may say that it
   * comes from elsewhere, and for a change something must say that it comes from here.
   */
  refuseForeignUse(request: Request): void;
  /** Where a certificate says who asks, nothing is taken from pages: a browser would show it to any of them. */
  refusePages(request: Request): void;
  /** A WebSocket is open to the pages of every site: it must say that it comes from one of this server's own (RFC 6455, 10.2). */
  refuseForeignUpgrade(request: Request): void;
};

export const safeMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

const loopbackNames: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost', '[::1]']);

/** `origins` are this server's own, as it is started: the set may grow until it listens. */
export function openCrossSite(options: {
  readonly origins: ReadonlySet<string>;
  readonly proxies: Proxies;
}): CrossSite {
  const { origins, proxies } = options;
  return {
    refuseForeignChange(request) {
      const { origin, 'sec-fetch-site': site } = request.headers;
      const foreignOrigin =
        origin !== undefined && !origins.has(origin) && origin !== proxies.originOf(request);
      if (foreignOrigin || !isOwnSite(site, { byUser: true }))
        throw denied('Changes are not taken from pages of another origin.');
    },
    refusePages({ headers }) {
      if (headers.origin !== undefined || headers['sec-fetch-site'] !== undefined)
        throw denied('This listener is for machines: nothing is taken from pages here.');
    },
    refuseForeignUpgrade({ headers: { origin } }) {
      if (origin === undefined)
        throw denied(
          'An upgrade says by its header Origin where it comes from: that of the URL it is sent to.',
        );
      // As in `refuseForeignUse`, what a proxy reports is not enough.
      if (!origins.has(origin))
        throw denied('Upgrades are not taken from another origin than publicUrl and the listener’s own.');
    },
    refuseForeignUse(request) {
      const { origin, 'sec-fetch-site': site } = request.headers;
      if (!isOwnHost(proxies.hostOf(request), origins))
        throw denied('This is not a name of this server. Open it at the address that its publicUrl says.');
      const isSafe = safeMethods.has(request.method ?? '');
      // The origin that a proxy reports is not enough here: it is put together from the Host that a page chose.
      const foreignOrigin = origin !== undefined && !origins.has(origin);
      if (foreignOrigin || !isOwnSite(site, { byUser: isSafe }))
        throw denied('With a cookie, nothing is taken from pages of another origin than publicUrl.');
      if (!isSafe && origin === undefined && site === undefined)
        throw denied('With a cookie, a change must say by Origin or Sec-Fetch-Site that it comes from here.');
    },
  };
}

/** `byUser` takes what no page started, such as an address that somebody typed. */
function isOwnSite(site: string | string[] | undefined, { byUser }: { byUser: boolean }): boolean {
  return site === undefined || site === 'same-origin' || (byUser && site === 'none');
}

/** Whether the host is that of an own origin or of loopback, whatever the port: names are what can be rebound. */
function isOwnHost(host: string | null, origins: ReadonlySet<string>): boolean {
  if (host === null || !URL.canParse(`http://${host}`)) return false;
  const { hostname } = new URL(`http://${host}`);
  if (loopbackNames.has(hostname)) return true;
  for (const origin of origins) if (new URL(origin).hostname === hostname) return true;
  return false;
}

function denied(detail: string): Fault {
  return new Fault('access.denied', { detail });
}
