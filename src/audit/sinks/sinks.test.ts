import { join } from 'node:path';
import { describe } from 'node:test';
import {
  dialects,
  openFileReceiver,
  openHttpReceiver,
  openSyslogReceiver,
} from '../../../tests/support/sink-receivers.ts';
import { sinkConformance } from './sink.conformance.ts';

const httpFailures = [
  'die',
  'stall',
  'busy',
  'unauthorized',
  'redirect',
  'huge',
  'slow-headers',
  'many-headers',
] as const;

for (const kind of ['loki', 'otlp', 'webhook'] as const)
  describe(`the sink ${kind}`, () => {
    sinkConformance({
      open: () => openHttpReceiver(dialects[kind]),
      failures: httpFailures,
      refuses: true,
      tls: true,
    });
  });

describe('the sink syslog', () => {
  sinkConformance({ open: openSyslogReceiver, failures: ['die', 'stall'], refuses: false, tls: true });
});

describe('the sink file', () => {
  sinkConformance({
    open: async (folder) => openFileReceiver(join(folder, 'out.jsonl')),
    failures: [],
    refuses: false,
    tls: false,
  });
});
