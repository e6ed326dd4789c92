import { writeSync } from 'node:fs';
import { pino } from 'pino';
import { localOwner } from '../../src/identity/local-owner.ts';
import { openServer } from '../../src/server/server.ts';
import { TestControl, testOrigin } from './test-control.ts';
import { wideRates } from './test-server.ts';

/** A control and its server in a process of their own, on a store that others share, until it is killed. */
const [storeFile] = process.argv.slice(2);
const test = await TestControl.open({ withRunner: false, storeFile: storeFile! });
const server = await openServer({
  control: test.control,
  logger: pino({ level: 'silent' }),
  listen: { host: '127.0.0.1', port: 0 },
  localSocketPath: null,
  identity: { localOwner },
  version: '0.0.0-test',
  rateLimits: wideRates,
  origins: [testOrigin],
});
writeSync(1, `${server.address}\n`);
