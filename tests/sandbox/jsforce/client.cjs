// Runs one of the calls below with jsforce: node client.cjs <folder with node_modules> <call>, its input as JSON on stdin.
// What it gives, or how it fails, goes to stdout as JSON.
const { createRequire } = require('node:module');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const jsforce = createRequire(join(process.argv[2], 'package.json'))('jsforce');
const input = JSON.parse(readFileSync(0, 'utf8'));

function connect() {
  const { instanceUrl, accessToken, version } = input;
  const connection = new jsforce.Connection({ instanceUrl, accessToken, version });
  connection.bulk2.pollInterval = 1;
  connection.bulk2.pollTimeout = 60000;
  return connection;
}

const calls = {
  async login() {
    const connection = new jsforce.Connection({ loginUrl: input.loginUrl, version: input.version });
    const user = await connection.login(input.username, input.password);
    const { totalSize } = await connection.query('SELECT COUNT() FROM Contact');
    return { user, totalSize, instanceUrl: connection.instanceUrl };
  },

  async authorize() {
    const { loginUrl, clientId, clientSecret, grant } = input;
    const connection = new jsforce.Connection({ oauth2: { loginUrl, clientId, clientSecret }, version: input.version });
    await connection.authorize(grant);
    const { totalSize } = await connection.query('SELECT COUNT() FROM Contact');
    return { totalSize, instanceUrl: connection.instanceUrl };
  },

  async describe() {
    const { fields } = await connect().sobject('Contact').describe();
    return fields.map(({ name, type, updateable }) => ({ name, type, updateable }));
  },

  async query() {
    const connection = connect();
    const records = await connection.query(input.soql, { autoFetch: true, maxFetch: 100000, scanAll: input.scanAll });
    return { ids: records.records.map(({ Id }) => Id), totalSize: records.totalSize, limits: connection.limitInfo };
  },

  async collection() {
    return connect().sobject('Contact').update(input.records, { allOrNone: input.allOrNone });
  },

  async bulkQuery() {
    const stream = await connect().bulk2.query(input.soql, input.options);
    return stream.toArray();
  },

  async bulkUpdate() {
    const job = { object: 'Contact', operation: input.operation ?? 'update', ...input.options };
    return connect().bulk2.loadAndWaitForResults({ ...job, input: input.records ?? input.csv });
  },

  async bulkSteps() {
    const connection = connect();
    const job = connection.bulk2.createJob({ object: 'Contact', operation: 'update' });
    const states = [(await job.open()).state];
    await job.uploadData(input.csv);
    states.push((await job.check()).state);
    await job.close();
    states.push(job.getInfo().state);
    states.push((await job.check()).state);
    await job.abort();
    states.push((await job.check()).state);
    const results = await job.getAllResults();
    await job.delete();
    return { states, results };
  },
};

calls[process.argv[3]]().then(
  (given) => console.log(JSON.stringify({ given })),
  (error) => console.log(JSON.stringify({ failed: { code: error.errorCode ?? error.name, message: error.message } })),
);
