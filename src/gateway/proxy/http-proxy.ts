import type { Socket } from 'node:net';
import { standardPorts } from '../../model/egress-decide.ts';
import { proxyPorts } from '../../model/gateway-address.ts';
import { formatAddress } from '../../model/ip-address.ts';
import { Connection, type Entrance } from '../flow/connection.ts';
import { readHead } from '../flow/http.ts';
import { lastWords, type Refused, refuse, status } from '../flow/refusal.ts';
import { isConnectHead, parseConnectHead, parseRequestHead } from '../http/head.ts';
import { Inlet } from '../inlet.ts';
import { gatewayLimits } from '../limits.ts';
import { type Destination, type SandboxDoor, seenOf } from '../sandbox-door.ts';
import { namedDestination, proxyItself } from './named-destination.ts';

/**
 * Serves a program that is set up for an HTTP proxy (RFC 9110 §9.3.6, RFC 9112 §3.2.2): tunnels by CONNECT, and
 * requests in absolute-form, each of which may be for another host. What it names goes the way of a connection to it.
 */
export function serveHttpProxy(door: SandboxDoor, client: Socket): void {
  if (!door.isOpen || !door.enter(client)) return void client.resetAndDestroy();
  new HttpProxy(door, client).serve().catch(() => client.destroy());
}

/** What the head of a request to the proxy asks for. */
type Asked =
  | { readonly form: 'connect' | 'absolute'; readonly destination: Destination }
  | { readonly bad: string };

class HttpProxy {
  readonly #door: SandboxDoor;
  readonly #client: Socket;
  readonly #inlet: Inlet;

  constructor(door: SandboxDoor, client: Socket) {
    this.#door = door;
    this.#client = client;
    this.#inlet = new Inlet(client);
  }

  async serve(): Promise<void> {
    const client = this.#client;
    const giveUp = () => client.destroy();
    const timer = setTimeout(giveUp, gatewayLimits.firstBytesMs);
    let head = await readHead(this.#inlet, giveUp).finally(() => clearTimeout(timer));
    // Whatever served the last one has ended the connection, unless the next is for elsewhere.
    while (head !== null && client.writable) {
      await this.#answer(head);
      head = client.writable ? await readHead(this.#inlet, giveUp) : null;
    }
    client.end();
  }

  async #answer(head: Buffer): Promise<void> {
    const asked = this.#parse(head);
    if ('bad' in asked) return this.#turnAway(asked.bad);
    const { form, destination } = asked;
    const connection = new Connection(this.#door, this.#client, destination, this.#entrance(destination));
    if (form === 'connect')
      return await connection.through(async (rule) => {
        this.#client.write('HTTP/1.1 200 Connection established\r\n\r\n');
        await connection.carry(rule);
      });
    this.#inlet.unread(head);
    await connection.through(async (rule) => {
      // Bytes that a rule takes as they are may be requests too; those of TLS and SSH are not.
      if (rule.protocol === 'http' || rule.protocol === 'tcp') await connection.carryRequests(rule);
      else connection.deny('protocol', 'http');
    });
  }

  #entrance(destination: Destination): Entrance {
    return {
      inlet: this.#inlet,
      refuse: (refused) => this.#refuse(refused),
      // None of a head that was too large is left to be judged anew.
      isElsewhere: (head) => head.length > 0 && !isRequestTo(destination, this.#parse(head)),
    };
  }

  #refuse(refused: Refused): void {
    if (refused.denial === 'malformed') this.#say400('what was sent is ambiguous or broken');
    else refuse(this.#client, 'http', refused);
  }

  #turnAway(why: string): void {
    this.#door.deny('malformed', seenOf(proxyItself(proxyPorts.http), { protocol: 'http' }));
    this.#say400(why);
  }

  #say400(why: string): void {
    lastWords(this.#client, status(400, 'Bad Request', `Sealwright: ${why}.\n`));
  }

  #parse(bytes: Buffer): Asked {
    if (isConnectHead(bytes)) {
      const target = parseConnectHead(bytes);
      return 'bad' in target ? target : this.#asked('connect', target.host, target.port);
    }
    const parsed = parseRequestHead(bytes);
    if ('bad' in parsed) return parsed;
    const { authority } = parsed.head.target;
    if (authority === null)
      return { bad: 'this is a proxy: it takes CONNECT host:port, and requests for http:// URLs' };
    return this.#asked('absolute', authority.host, authority.port ?? standardPorts.http);
  }

  #asked(form: 'connect' | 'absolute', host: string, port: number): Asked {
    const destination = namedDestination(this.#door, host, port);
    return destination === null ? { bad: 'the host of the target is no host' } : { form, destination };
  }
}

function isRequestTo({ host, address, port }: Destination, asked: Asked): boolean {
  if ('bad' in asked || asked.form !== 'absolute') return false;
  const other = asked.destination;
  return (
    other.host === host && other.port === port && formatAddress(other.address) === formatAddress(address)
  );
}
