import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { accessFile, accessReference } from '../../tools/access-reference.ts';
import { ocsfFile, ocsfReference } from '../../tools/ocsf-reference.ts';
import { redactionFile, redactionReference } from '../../tools/redaction-reference.ts';
import {
  allRoutes,
  configurationFile,
  configurationReference,
  endpointsFile,
  endpointsReference,
} from '../../tools/reference.ts';

test('the page of endpoints lists what the server answers; `node tools/reference.ts` renews it', async () => {
  assert.equal(readFileSync(endpointsFile, 'utf8'), await endpointsReference());
});

test('the page of settings lists what `up` reads; `node tools/reference.ts` renews it', () => {
  assert.equal(readFileSync(configurationFile, 'utf8'), configurationReference());
});

test('the page of access says what each role may; `node tools/reference.ts` renews it', async () => {
  assert.equal(readFileSync(accessFile, 'utf8'), accessReference(await allRoutes()));
});

test('the page of redaction lists the rules in force; `node tools/redaction-reference.ts` renews it', () => {
  assert.equal(readFileSync(redactionFile, 'utf8'), redactionReference());
});

test('the page of OCSF says what each action is; `node tools/reference.ts` renews it', () => {
  assert.equal(readFileSync(ocsfFile, 'utf8'), ocsfReference());
});
