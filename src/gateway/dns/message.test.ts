import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { promises as dns } from 'node:dns';
import { once } from 'node:events';
import { createServer, isIPv4 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type AnswerContent,
  answer,
  DnsFramingError,
  dnsLimits,
  dnsTypes,
  parseQuery,
  type Query,
  TcpMessages,
} from './message.ts';

type Question = { id: number; name: string; type: number; class: number; recursionDesired: boolean };
type Edns = { udpSize: number; version?: number; options?: Buffer };

function u16(...values: number[]): Buffer {
  return Buffer.from(values.flatMap((value) => [value >> 8, value & 0xff]));
}

function wireName(name: string): Buffer {
  const labels = name === '.' ? [] : name.split('.');
  return Buffer.concat([
    ...labels.map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`, 'latin1')),
    Buffer.of(0),
  ]);
}

function opt({ udpSize, version = 0, options = Buffer.alloc(0) }: Edns): Buffer {
  return Buffer.concat([
    Buffer.of(0),
    u16(41, udpSize),
    Buffer.of(0, version, 0, 0),
    u16(options.length),
    options,
  ]);
}

function queryBytes(question: Partial<Question>, edns?: Edns): Buffer {
  const flags = question.recursionDesired === false ? 0 : 0x0100;
  return Buffer.concat([
    u16(question.id ?? 7, flags, 1, 0, 0, edns === undefined ? 0 : 1),
    wireName(question.name ?? 'example.com'),
    u16(question.type ?? dnsTypes.a, question.class ?? 1),
    edns === undefined ? Buffer.alloc(0) : opt(edns),
  ]);
}

function query(question: Partial<Question> = {}, edns?: Edns): Query {
  const parsed = parseQuery(queryBytes(question, edns));
  assert(parsed !== null && !('refuse' in parsed));
  return parsed;
}

type Record = { owner: string; type: number; class: number; ttl: number; data: Buffer; at: number };
type Decoded = {
  id: number;
  flags: number;
  opcode: number;
  rcode: number;
  questions: { name: string; type: number; class: number }[];
  answers: Record[];
  authorities: Record[];
  additionals: Record[];
};

/** A decoder that follows pointers backwards only and demands that the message ends with its last record. */
function decode(bytes: Buffer): Decoded {
  let at = 12;
  const name = (): string => {
    const read = decodeName(bytes, at);
    at = read.end;
    return read.name;
  };
  const word = (): number => {
    at += 2;
    return bytes.readUInt16BE(at - 2);
  };
  const record = (): Record => {
    const [owner, type, klass] = [name(), word(), word()];
    const ttl = bytes.readUInt32BE(at);
    at += 4;
    const length = word();
    at += length;
    assert(at <= bytes.length);
    return { owner, type, class: klass, ttl, data: bytes.subarray(at - length, at), at: at - length };
  };
  const many = <T>(count: number, one: () => T): T[] => Array.from({ length: count }, one);
  const counts = [4, 6, 8, 10].map((offset) => bytes.readUInt16BE(offset));
  const decoded = {
    id: bytes.readUInt16BE(0),
    flags: bytes.readUInt16BE(2) & 0x87f0,
    opcode: (bytes[2]! >> 3) & 15,
    rcode: bytes[3]! & 15,
    questions: many(counts[0]!, () => ({ name: name(), type: word(), class: word() })),
    answers: many(counts[1]!, record),
    authorities: many(counts[2]!, record),
    additionals: many(counts[3]!, record),
  };
  assert.equal(at, bytes.length);
  return decoded;
}

function decodeName(bytes: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = [];
  let at = start;
  let end: number | null = null;
  for (;;) {
    const length = bytes[at]!;
    if (length >= 0xc0) {
      const target = bytes.readUInt16BE(at) & 0x3fff;
      assert(target < at, 'a pointer points back');
      end ??= at + 2;
      at = target;
      continue;
    }
    at += 1 + length;
    if (length === 0) return { name: labels.join('.') || '.', end: end ?? at };
    labels.push(bytes.toString('latin1', at - length, at));
  }
}

const [qr, aa, tc, rd, ra] = [0x8000, 0x0400, 0x0200, 0x0100, 0x0080];
const rcode = (message: Buffer): number | null => {
  const parsed = parseQuery(message);
  return parsed !== null && 'refuse' in parsed ? decode(parsed.refuse).rcode : null;
};
const tcp = { udpLimit: null };
const udp = { udpLimit: dnsLimits.udpAnswerBytesMax };
const someAddresses = (count: number): string[] => Array.from({ length: count }, (_, i) => `198.18.1.${i}`);

const anyLabel = fc.stringMatching(/^[!-\-/-[\]-~]{1,63}$/);
const anyName = fc
  .array(anyLabel, { maxLength: 8 })
  .map((labels) => labels.join('.') || '.')
  .filter((name) => name.length <= 253);
const word = fc.integer({ min: 0, max: 0xffff });
const anyQuestion = fc.record({
  id: word,
  name: anyName,
  type: fc.oneof(word, fc.constantFrom(...Object.values(dnsTypes))),
  class: fc.oneof(fc.constant(1), word),
  recursionDesired: fc.boolean(),
});
const anyEdns = fc.option(fc.record({ udpSize: word }), { nil: undefined });

test('a query is read as it was asked, case and all', () => {
  fc.assert(
    fc.property(anyQuestion, anyEdns, (question, edns) => {
      const message = queryBytes(question, edns);
      const read = query(question, edns);
      assert.deepEqual(read, {
        ...question,
        edns: edns === undefined ? null : { udpSize: Math.max(512, edns.udpSize) },
        question: message.subarray(12, 12 + wireName(question.name).length + 4),
      });
    }),
  );
});

test('a name of 255 bytes is read, one of 256 is a format error', () => {
  const longest = [63, 63, 63, 61].map((length) => 'x'.repeat(length)).join('.');
  assert.equal(query({ name: longest }).name, longest);
  assert.equal(rcode(queryBytes({ name: `${longest}x` })), 1);
});

test('less than a header and every response get no answer at all', () => {
  const message = queryBytes({});
  for (let length = 0; length < 12; length += 1) {
    assert.equal(parseQuery(message.subarray(0, length)), null);
  }
  message[2]! |= 0x80;
  assert.equal(parseQuery(message), null);
});

test('an opcode other than QUERY gets NOTIMP with the opcode, and no question', () => {
  for (let opcode = 1; opcode < 16; opcode += 1) {
    const message = queryBytes({ id: 0xabcd });
    message[2]! |= opcode << 3;
    const parsed = parseQuery(message);
    assert(parsed !== null && 'refuse' in parsed);
    const { id, opcode: echoed, rcode, questions } = decode(parsed.refuse);
    assert.deepEqual(
      { id, echoed, rcode, questions },
      { id: 0xabcd, echoed: opcode, rcode: 4, questions: [] },
    );
  }
});

test('every query that is cut short, and every one with a byte too many, is a format error', () => {
  for (const edns of [undefined, { udpSize: 1232, options: Buffer.concat([u16(10, 8), Buffer.alloc(8)]) }]) {
    const message = queryBytes({}, edns);
    assert.equal(rcode(message), null);
    for (let length = 12; length < message.length; length += 1) {
      assert.equal(rcode(message.subarray(0, length)), 1, `${length}`);
    }
    assert.equal(rcode(Buffer.concat([message, Buffer.of(0)])), 1);
  }
});

test('counts other than one question and at most one additional record are a format error', () => {
  for (const at of [4, 6, 8, 10]) {
    for (const count of [0, 2, 0xffff]) {
      const message = queryBytes({}, { udpSize: 1232 });
      message.writeUInt16BE(count, at);
      assert.equal(rcode(message), count === 0 && (at === 6 || at === 8) ? null : 1, `${at} ${count}`);
    }
  }
  const two = Buffer.concat([queryBytes({}), wireName('b.example'), u16(1, 1)]);
  two.writeUInt16BE(2, 4);
  assert.equal(rcode(two), 1);
});

test('an additional record that is not OPT of the root is a format error', () => {
  const signed = queryBytes({}, { udpSize: 1232 });
  signed.writeUInt16BE(250, signed.length - 10);
  assert.equal(rcode(signed), 1);
  const owned = Buffer.concat([queryBytes({}), Buffer.from('\u0001x', 'latin1'), opt({ udpSize: 1232 })]);
  owned.writeUInt16BE(1, 10);
  assert.equal(rcode(owned), 1);
});

test('an EDNS option that is longer than its record is a format error', () => {
  for (const options of [u16(10), u16(10, 1), Buffer.concat([u16(10, 0), Buffer.of(0)])]) {
    assert.equal(rcode(queryBytes({}, { udpSize: 1232, options })), 1);
  }
});

test('no compression pointer and no other label type is taken in a question, so none can loop', () => {
  for (const first of [0x40, 0x80, 0xc0]) {
    for (let second = 0; second < 256; second += 1) {
      for (const prefix of [[], [1, 0x61]]) {
        const name = Buffer.of(...prefix, first | (second & 0x3f), second);
        const message = Buffer.concat([u16(1, 0x0100, 1, 0, 0, 0), name, Buffer.of(0), u16(1, 1)]);
        assert.equal(rcode(message), 1);
      }
    }
  }
});

test('a byte that a dotted name would have to escape is a format error', () => {
  for (let byte = 0; byte < 256; byte += 1) {
    const plain = byte > 0x20 && byte < 0x7f && byte !== 0x2e && byte !== 0x5c;
    const message = queryBytes({ name: 'aXa.example' });
    message[14] = byte;
    assert.equal(rcode(message), plain ? null : 1, `byte ${byte}`);
  }
});

test('a query over the bound is a format error even when it is well formed', () => {
  const padded = (bytes: number) =>
    queryBytes({}, { udpSize: 1232, options: Buffer.concat([u16(12, bytes), Buffer.alloc(bytes)]) });
  const room = dnsLimits.queryBytesMax - padded(0).length;
  assert.equal(rcode(padded(room)), null);
  assert.equal(rcode(padded(room + 1)), 1);
});

test('an EDNS version that is not there yet gets BADVERS, whatever its options look like', () => {
  for (const version of [1, 255]) {
    const parsed = parseQuery(queryBytes({ name: 'A.example' }, { udpSize: 4096, version, options: u16(9) }));
    assert(parsed !== null && 'refuse' in parsed);
    const { rcode, questions, additionals } = decode(parsed.refuse);
    assert.equal(rcode, 0);
    assert.equal(questions[0]!.name, 'A.example');
    assert.equal(additionals[0]!.ttl, 0x01000000, 'extended RCODE 16, version 0');
  }
});

test('random and mutated bytes never throw, and what is answered decodes', () => {
  const mutated = fc
    .tuple(anyQuestion, anyEdns, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }))
    .map(([question, edns, changes]) => {
      const message = queryBytes(question, edns);
      for (const [at, byte] of changes) message[at % message.length] = byte;
      return message;
    });
  const random = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes));
  const seen = { queries: 0, refusals: 0 };
  fc.assert(
    fc.property(fc.oneof(random, mutated), (message) => {
      const parsed = parseQuery(message);
      if (parsed === null) return;
      const reply = 'refuse' in parsed ? parsed.refuse : answer(parsed, { kind: 'empty' }, udp);
      seen['refuse' in parsed ? 'refusals' : 'queries'] += 1;
      assert.equal(decode(reply).id, message.readUInt16BE(0));
      assert(reply.length <= 512);
    }),
    { numRuns: 3_000 },
  );
  assert(seen.queries > 100 && seen.refusals > 100, JSON.stringify(seen));
});

test('an answer holds the addresses of the type that was asked, under the name as it was spelled', () => {
  const content = { kind: 'address', addresses: ['198.18.0.7', 'fd00::1:2', '198.18.0.8'], ttl: 60 } as const;
  const a = decode(answer(query({ id: 9, name: 'wWw.Example.COM' }), content, udp));
  assert.equal(a.flags, qr | aa | rd | ra);
  assert.deepEqual(a.questions, [{ name: 'wWw.Example.COM', type: 1, class: 1 }]);
  assert.deepEqual(
    a.answers.map(({ owner, type, ttl, data }) => ({ owner, type, ttl, data: [...data].join('.') })),
    ['198.18.0.7', '198.18.0.8'].map((data) => ({ owner: 'wWw.Example.COM', type: 1, ttl: 60, data })),
  );
  const aaaa = decode(answer(query({ type: dnsTypes.aaaa }), content, udp));
  assert.deepEqual(
    aaaa.answers.map(({ type, data }) => ({ type, data: data.toString('hex') })),
    [{ type: 28, data: 'fd000000000000000000000000010002' }],
  );
});

test('every spelling of an IPv6 address gives its bytes', () => {
  const ofType = (address: string) =>
    decode(answer(query({ type: dnsTypes.aaaa }), { kind: 'address', addresses: [address], ttl: 1 }, udp))
      .answers[0]!.data;
  assert.equal(ofType('::').toString('hex'), '0'.repeat(32));
  assert.equal(ofType('1::').toString('hex'), `0001${'0'.repeat(28)}`);
  assert.equal(ofType('::ffff:198.18.0.1').toString('hex'), '00000000000000000000ffffc6120001');
  fc.assert(
    fc.property(fc.ipV6(), (address) => {
      const groups = ofType(address).toString('hex').match(/..../g)!.join(':');
      assert.equal(new URL(`http://[${groups}]`).hostname, new URL(`http://[${address}]`).hostname);
    }),
  );
});

test('a name that exists without such a record gets no data and a SOA that lets it be cached briefly', () => {
  const content = { kind: 'address', addresses: ['198.18.0.7'], ttl: 60 } as const;
  for (const type of [2, 5, 6, 12, 15, 16, 28, 33, 43, 48, 64, 65, 252, 257]) {
    for (const known of [content, { kind: 'empty' }] as const) {
      const { rcode, flags, answers, authorities } = decode(answer(query({ type }), known, udp));
      assert.deepEqual([rcode, flags, answers], [0, qr | aa | rd | ra, []]);
      assert.deepEqual(
        authorities.map(({ owner, type, ttl }) => ({ owner, type, ttl })),
        [{ owner: '.', type: 6, ttl: dnsLimits.briefTtlSeconds }],
      );
      assert.equal(authorities[0]!.data.readUInt32BE(18), dnsLimits.briefTtlSeconds, 'MINIMUM');
    }
  }
});

test('an absent name is NXDOMAIN with a SOA for every type', () => {
  for (const type of [dnsTypes.a, dnsTypes.aaaa, dnsTypes.any, 65]) {
    const { rcode, answers, authorities } = decode(answer(query({ type }), { kind: 'absent' }, udp));
    assert.deepEqual([rcode, answers.length, authorities[0]!.type], [3, 0, 6]);
  }
});

test('ANY is answered with HINFO, never with everything there is', () => {
  const addresses = someAddresses(40);
  const asked = query({ type: dnsTypes.any });
  const { answers } = decode(answer(asked, { kind: 'address', addresses, ttl: 1 }, udp));
  assert.deepEqual(
    answers.map(({ type, data }) => [type, data.toString('latin1')]),
    [[dnsTypes.hinfo, '\u0007RFC8482\u0000']],
  );
});

test('a class other than IN is refused, whatever is known of the name', () => {
  for (const klass of [0, 2, 3, 4, 254, 255, 0xffff]) {
    const content = { kind: 'address', addresses: ['198.18.0.7'], ttl: 60 } as const;
    const { rcode, flags, answers, authorities } = decode(answer(query({ class: klass }), content, udp));
    assert.deepEqual([rcode, flags, answers, authorities], [5, qr | rd | ra, [], []]);
  }
  assert.equal(decode(answer(query(), { kind: 'refused' }, udp)).rcode, 5);
});

test('a pointer answers PTR alone', () => {
  const content = { kind: 'pointer', name: 'Registry.example' } as const;
  const asked = { name: '7.0.18.198.in-addr.arpa' };
  const bytes = answer(query({ ...asked, type: dnsTypes.ptr }), content, udp);
  assert.equal(decodeName(bytes, decode(bytes).answers[0]!.at).name, 'Registry.example');
  assert.deepEqual(decode(answer(query(asked), content, udp)).answers, []);
});

test('an answer that does not fit UDP is truncated to its question, and whole over TCP', () => {
  const content = { kind: 'address', addresses: someAddresses(64), ttl: 1 } as const;
  const rooms: [Edns | undefined, number, number][] = [
    [undefined, 1232, 512],
    [{ udpSize: 100 }, 1232, 512],
    [{ udpSize: 800 }, 1232, 800],
    [{ udpSize: 800 }, 600, 600],
    [{ udpSize: 65_535 }, 65_535, 1232],
  ];
  for (const [edns, udpLimit, room] of rooms) {
    const asked = query({}, edns);
    const fixed = answer(asked, { kind: 'address', addresses: ['198.18.0.1'], ttl: 1 }, tcp).length - 16;
    const fitting = Math.min(64, Math.floor((room - fixed) / 16));
    const some = (count: number) => ({ ...content, addresses: content.addresses.slice(0, count) });
    const fits = answer(asked, some(fitting), { udpLimit });
    assert(fits.length <= room);
    assert.equal(decode(fits).answers.length, fitting);
    if (fitting === 64) continue;
    const cut = decode(answer(asked, some(fitting + 1), { udpLimit }));
    assert.equal(cut.flags & tc, tc);
    assert.deepEqual([cut.answers, cut.authorities, cut.questions.length], [[], [], 1]);
    assert.equal(cut.additionals.length, edns === undefined ? 0 : 1);
  }
  assert.equal(decode(answer(query(), content, tcp)).answers.length, 64);
});

test('EDNS is answered where it was asked and only there', () => {
  assert.deepEqual(decode(answer(query(), { kind: 'empty' }, udp)).additionals, []);
  const [record] = decode(answer(query({}, { udpSize: 4096 }), { kind: 'refused' }, udp)).additionals;
  assert.deepEqual(
    [record!.owner, record!.type, record!.class, record!.ttl, record!.data.length],
    ['.', 41, 1232, 0, 0],
  );
});

test('every answer to every query decodes, fits and repeats id, RD and question', () => {
  const anyContent: fc.Arbitrary<AnswerContent> = fc.oneof(
    fc.record({
      kind: fc.constant('address' as const),
      addresses: fc.array(fc.oneof(fc.ipV4(), fc.ipV6()), { maxLength: 64 }),
      ttl: fc.nat(2 ** 31 - 1),
    }),
    fc.record({ kind: fc.constant('pointer' as const), name: anyName }),
    fc.constantFrom<AnswerContent>({ kind: 'empty' }, { kind: 'absent' }, { kind: 'refused' }),
  );
  fc.assert(
    fc.property(anyQuestion, anyEdns, anyContent, (question, edns, content) => {
      const asked = query(question, edns);
      for (const options of [udp, tcp]) {
        const bytes = answer(asked, content, options);
        const { id, flags, questions } = decode(bytes);
        assert.deepEqual(questions, [{ name: asked.name, type: asked.type, class: asked.class }]);
        assert.deepEqual([id, (flags & rd) !== 0], [asked.id, asked.recursionDesired]);
        if (options.udpLimit !== null) assert(bytes.length <= (asked.edns?.udpSize ?? 512));
        assert.notEqual(flags & qr, 0);
      }
    }),
    { numRuns: 500 },
  );
});

test('addresses, names, TTLs and limits that are none are bugs', () => {
  const asked = query();
  const give = (addresses: string[], ttl = 1) => answer(asked, { kind: 'address', addresses, ttl }, udp);
  assert.throws(() => give(['example.com']), { code: 'ERR_ASSERTION' });
  assert.throws(() => give(['fe80::1%eth0']), { code: 'ERR_ASSERTION' });
  assert.throws(() => give(someAddresses(65)), { code: 'ERR_ASSERTION' });
  assert.throws(() => give([], -1), { code: 'ERR_ASSERTION' });
  assert.throws(() => answer(asked, { kind: 'empty' }, { udpLimit: 511 }), { code: 'ERR_ASSERTION' });
  for (const name of ['', 'a..b', 'a.', 'x'.repeat(64), 'x.'.repeat(127).concat('xy')]) {
    const pointer = query({ type: dnsTypes.ptr });
    assert.throws(() => answer(pointer, { kind: 'pointer', name }, udp), { code: 'ERR_ASSERTION' }, name);
  }
});

const framed = (message: Buffer): Buffer => Buffer.concat([u16(message.length), message]);

test('messages over TCP come out whole and in order however they are cut', () => {
  const anyMessages = fc.array(fc.uint8Array({ minLength: 1, maxLength: 700 }), { maxLength: 6 });
  fc.assert(
    fc.property(anyMessages, fc.array(fc.integer({ min: 1, max: 900 })), (messages, cuts) => {
      const all = Buffer.concat(messages.map((message) => framed(Buffer.from(message))));
      const splitter = new TcpMessages();
      const out: Buffer[] = [];
      let at = 0;
      for (const cut of [...cuts, all.length]) {
        out.push(...splitter.push(all.subarray(at, at + cut)));
        at += cut;
      }
      assert.deepEqual(out, messages.map(Buffer.from));
    }),
  );
});

test('a message comes out with its last byte, and is not a view of the chunk', () => {
  const splitter = new TcpMessages();
  const chunk = framed(Buffer.from('hello'));
  for (const byte of chunk.subarray(0, -1)) assert.deepEqual(splitter.push(Buffer.of(byte)), []);
  const last = chunk.subarray(-1);
  const [message] = splitter.push(last);
  last.fill(0);
  assert.equal(message!.toString(), 'hello');
});

test('a TCP message of no bytes or over the bound ends the connection, for good', () => {
  const largest = Buffer.alloc(dnsLimits.queryBytesMax);
  assert.equal(new TcpMessages().push(framed(largest)).length, 1);
  for (const length of [0, dnsLimits.queryBytesMax + 1, 0xffff]) {
    const splitter = new TcpMessages();
    splitter.push(framed(largest));
    assert.deepEqual(splitter.push(u16(length).subarray(0, 1)), []);
    assert.throws(() => splitter.push(u16(length).subarray(1)), DnsFramingError);
    assert.throws(() => splitter.push(framed(largest)), DnsFramingError);
  }
});

const zone: { readonly [name: string]: AnswerContent } = {
  'one.example': { kind: 'address', addresses: ['198.18.0.7', 'fd00::7'], ttl: 30 },
  'many.example': { kind: 'address', addresses: someAddresses(64), ttl: 30 },
  'empty.example': { kind: 'empty' },
  'refused.example': { kind: 'refused' },
  '7.0.18.198.in-addr.arpa': { kind: 'pointer', name: 'one.example' },
};

function serve(message: Buffer, udpLimit: number | null): Buffer | null {
  const parsed = parseQuery(message);
  if (parsed === null) return null;
  if ('refuse' in parsed) return parsed.refuse;
  return answer(parsed, zone[parsed.name.toLowerCase()] ?? { kind: 'absent' }, { udpLimit });
}

test('the resolver of Node understands every answer, over UDP and over TCP where one was truncated', async () => {
  const overTcp: Buffer[] = [];
  const stream = createServer((socket) => {
    const splitter = new TcpMessages();
    socket.on('data', (chunk: Buffer) => {
      for (const message of splitter.push(chunk)) {
        overTcp.push(message);
        socket.write(framed(serve(message, null)!));
      }
    });
    socket.on('error', () => socket.destroy());
  });
  stream.listen(0, '127.0.0.1');
  await once(stream, 'listening');
  const { port } = stream.address() as { port: number };
  const datagrams = createSocket('udp4', (message, from) => {
    const reply = serve(message, dnsLimits.udpAnswerBytesMax);
    if (reply !== null) datagrams.send(reply, from.port, from.address);
  });
  datagrams.bind(port, '127.0.0.1');
  await once(datagrams, 'listening');
  const resolver = new dns.Resolver({ timeout: 2_000, tries: 2 });
  try {
    resolver.setServers([`127.0.0.1:${port}`]);
    assert.deepEqual(await resolver.resolve4('One.Example', { ttl: true }), [
      { address: '198.18.0.7', ttl: 30 },
    ]);
    assert.deepEqual(await resolver.resolve6('one.example'), ['fd00::7']);
    assert.deepEqual(await resolver.reverse('198.18.0.7'), ['one.example']);
    await assert.rejects(resolver.resolveMx('one.example'), { code: 'ENODATA' });
    await assert.rejects(resolver.resolve4('empty.example'), { code: 'ENODATA' });
    await assert.rejects(resolver.resolve4('absent.example'), { code: 'ENOTFOUND' });
    await assert.rejects(resolver.resolve4('refused.example'), { code: 'EREFUSED' });
    assert.equal(overTcp.length, 0);
    const many = await resolver.resolve4('many.example');
    assert.deepEqual([many.length, many.every(isIPv4)], [64, true]);
    assert.equal(overTcp.length, 1, 'the truncated answer was asked for again over TCP');
  } finally {
    resolver.cancel();
    datagrams.close();
    stream.close();
  }
});
