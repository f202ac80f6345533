"""What scripts/libraries runs: one library in one small program, which reaches for HOST and PORT.

    library-programs.py NAME

Nothing is there, so each of them fails; what it has reached for before is what counts.
"""

import asyncio
import contextlib
import os
import sys

HOST, PORT = "elsewhere.example.org", 8443
URL = f"http://{HOST}:{PORT}/"
TLS = f"https://{HOST}:{PORT}/"
SECONDS = 5

PROGRAMS = {}


def program(distribution, *also, asks=True):
    """Of ``distribution``, with others that it needs. ``asks``: it connects, so that a proxy is asked."""

    def note(function):
        PROGRAMS[distribution] = (function, also, asks)
        return function

    return note


# ---------------------------------------------------------------- HTTP


@program("requests")
def _():
    import requests

    requests.get(URL, timeout=SECONDS)


@program("httpx")
def _():
    import httpx

    httpx.get(URL, timeout=SECONDS)


@program("aiohttp")
async def _():
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(URL):
        pass


@program("urllib3")
def _():
    import urllib3

    urllib3.PoolManager().request("GET", URL, retries=False, timeout=SECONDS)


@program("httplib2")
def _():
    import httplib2

    httplib2.Http(timeout=SECONDS).request(URL)


@program("niquests")
def _():
    import niquests

    with niquests.Session() as session:
        session.quic_cache_layer.add_domain(HOST, PORT)
        session.get(TLS, timeout=SECONDS)


@program("tornado")
async def _():
    from tornado.httpclient import AsyncHTTPClient

    await AsyncHTTPClient().fetch(URL, request_timeout=SECONDS)


@program("treq", "Twisted")
def _():
    import treq
    from twisted.internet import reactor

    treq.get(URL).addBoth(lambda _: reactor.stop())
    reactor.run()


@program("pycurl")
def _():
    import pycurl

    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, URL)
    curl.setopt(pycurl.TIMEOUT, SECONDS)
    curl.perform()


@program("curl_cffi")
def _():
    from curl_cffi import requests

    requests.get(URL, timeout=SECONDS)


@program("primp")
def _():
    import primp

    primp.Client(timeout=SECONDS).get(URL)


@program("wreq")
async def _():
    import wreq

    await wreq.Client().get(URL)


@program("awscrt")
def _():
    from awscrt import http, io

    connection = http.HttpClientConnection.new(HOST, PORT, io.ClientBootstrap.get_or_create_static_default())
    connection.result(SECONDS)


@program("hf_xet", "huggingface_hub", asks=False)
def _():
    import hf_xet

    client = getattr(hf_xet, "download_files", None)
    info = hf_xet.PyXetDownloadInfo("/tmp/none", "0" * 64, 1)
    client([info], TLS, ("token", 1 << 40), None, None)


# ---------------------------------------------------------------- loops and sockets


@program("trio")
def _():
    import trio

    trio.run(trio.open_tcp_stream, HOST, PORT)


@program("anyio")
async def _():
    import anyio

    await anyio.connect_tcp(HOST, PORT)


@program("gevent")
def _():
    from gevent import socket

    socket.create_connection((HOST, PORT), timeout=SECONDS)


@program("eventlet")
def _():
    from eventlet.green import socket

    socket.create_connection((HOST, PORT), timeout=SECONDS)


@program("uvloop")
def _():
    import uvloop

    uvloop.run(asyncio.open_connection(HOST, PORT))


@program("rloop")
def _():
    import rloop

    rloop.new_event_loop().run_until_complete(asyncio.open_connection(HOST, PORT))


@program("websockets")
async def _():
    import websockets

    await websockets.connect(f"ws://{HOST}:{PORT}/", open_timeout=SECONDS)


@program("websocket-client")
def _():
    import websocket

    websocket.create_connection(f"ws://{HOST}:{PORT}/", timeout=SECONDS)


@program("aioquic")
async def _():
    from aioquic.asyncio.client import connect
    from aioquic.quic.configuration import QuicConfiguration

    async with connect(HOST, PORT, configuration=QuicConfiguration(idle_timeout=2)):
        pass


@program("qh3")
async def _():
    from qh3.asyncio.client import connect
    from qh3.quic.configuration import QuicConfiguration

    async with connect(HOST, PORT, configuration=QuicConfiguration(idle_timeout=2)):
        pass


@program("grpcio")
def _():
    import grpc

    grpc.channel_ready_future(grpc.insecure_channel(f"{HOST}:{PORT}")).result(SECONDS)


@program("pyzmq")
def _():
    import zmq

    sock = zmq.Context().socket(zmq.REQ)
    sock.connect(f"tcp://{HOST}:{PORT}")
    sock.poll(2000)
    sock.close(0)


@program("libtorrent")
def _():
    import time

    import libtorrent

    session = libtorrent.session({"enable_dht": False, "enable_lsd": False, "enable_upnp": False})
    magnet = f"magnet:?xt=urn:btih:{'a' * 40}&tr=http://{HOST}:{PORT}/announce"
    parameters = libtorrent.parse_magnet_uri(magnet)
    parameters.save_path = "/tmp"
    session.add_torrent(parameters)
    time.sleep(8)


# ---------------------------------------------------------------- names


@program("aiodns", asks=False)
async def _():
    import aiodns

    await aiodns.DNSResolver().getaddrinfo(HOST, port=PORT)


@program("pycares", asks=False)
def _():
    import time

    import pycares

    channel = pycares.Channel(timeout=1, tries=1)
    channel.getaddrinfo(HOST, PORT, callback=lambda *_: None)
    time.sleep(2)


@program("dnspython", asks=False)
def _():
    import dns.resolver

    dns.resolver.resolve(HOST, "SRV", lifetime=SECONDS)


# ---------------------------------------------------------------- databases and queues


@program("psycopg", "psycopg-binary")
def _():
    import psycopg

    psycopg.connect(f"host={HOST} port={PORT} connect_timeout={SECONDS}")


@program("psycopg2-binary")
def _():
    import psycopg2

    psycopg2.connect(f"host={HOST} port={PORT} connect_timeout={SECONDS}")


@program("asyncpg")
async def _():
    import asyncpg

    await asyncpg.connect(host=HOST, port=PORT, timeout=SECONDS)


@program("PyMySQL")
def _():
    import pymysql

    pymysql.connect(host=HOST, port=PORT, connect_timeout=SECONDS)


@program("mysql-connector-python")
def _():
    import mysql.connector

    mysql.connector.connect(host=HOST, port=PORT, connection_timeout=SECONDS)


@program("pymssql")
def _():
    import pymssql

    pymssql.connect(server=HOST, port=PORT, user="a", password="b", login_timeout=SECONDS)


@program("oracledb")
def _():
    import oracledb

    oracledb.connect(user="a", password="b", dsn=f"{HOST}:{PORT}/x", tcp_connect_timeout=SECONDS)


@program("pymongo")
def _():
    import pymongo

    pymongo.MongoClient(HOST, PORT, serverSelectionTimeoutMS=2000).admin.command("ping")


@program("redis")
def _():
    import redis

    redis.Redis(HOST, PORT, socket_connect_timeout=SECONDS).ping()


@program("valkey-glide")
async def _():
    from glide import GlideClient, GlideClientConfiguration, NodeAddress

    await GlideClient.create(GlideClientConfiguration([NodeAddress(HOST, PORT)]))


@program("clickhouse-connect")
def _():
    import clickhouse_connect

    clickhouse_connect.get_client(host=HOST, port=PORT, connect_timeout=SECONDS)


@program("elasticsearch")
def _():
    import elasticsearch

    elasticsearch.Elasticsearch(URL, request_timeout=SECONDS, max_retries=0).info()


@program("pika")
def _():
    import pika

    pika.BlockingConnection(pika.ConnectionParameters(HOST, PORT, connection_attempts=1))


@program("paho-mqtt")
def _():
    import paho.mqtt.client

    paho.mqtt.client.Client(paho.mqtt.client.CallbackAPIVersion.VERSION2).connect(HOST, PORT)


@program("kafka-python")
def _():
    import kafka

    kafka.KafkaProducer(bootstrap_servers=f"{HOST}:{PORT}", request_timeout_ms=2000)


@program("confluent-kafka")
def _():
    import confluent_kafka

    producer = confluent_kafka.Producer({"bootstrap.servers": f"{HOST}:{PORT}"})
    producer.produce("topic", b"value")
    producer.flush(3)


@program("pulsar-client")
def _():
    import pulsar

    options = {"operation_timeout_seconds": 3, "connection_timeout_ms": 2000}
    pulsar.Client(f"pulsar://{HOST}:{PORT}", **options).create_producer("topic")


@program("nats-py")
async def _():
    import nats

    await nats.connect(f"nats://{HOST}:{PORT}", connect_timeout=SECONDS, max_reconnect_attempts=1)


# ---------------------------------------------------------------- files and others


@program("boto3")
def _():
    import boto3

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "eu-west-1"}
    client = boto3.client("s3", endpoint_url=URL, **keys)
    client.list_buckets()


@program("obstore")
def _():
    import obstore.store

    store = obstore.store.HTTPStore.from_url(TLS, retry_config={"max_retries": 0})
    obstore.get(store, "file")


@program("polars")
def _():
    import polars

    polars.scan_parquet(f"{TLS}file.parquet", storage_options={"max_retries": 1}).collect()


@program("pyarrow")
def _():
    from pyarrow import fs

    place = {"endpoint_override": f"{HOST}:{PORT}", "scheme": "http", "region": "x"}
    store = fs.S3FileSystem(anonymous=True, connect_timeout=2, request_timeout=2, **place)
    store.get_file_info("bucket/file")


@program("duckdb")
def _():
    import duckdb

    duckdb.sql(f"set custom_extension_repository = '{URL}'")
    duckdb.sql("install httpfs")


@program("pygit2")
def _():
    import tempfile

    import pygit2

    pygit2.clone_repository(URL + "x.git", tempfile.mkdtemp())


@program("dulwich")
def _():
    import tempfile

    from dulwich import porcelain

    porcelain.clone(URL + "x.git", tempfile.mkdtemp())


@program("paramiko")
def _():
    import paramiko

    paramiko.SSHClient().connect(HOST, PORT, timeout=SECONDS)


@program("asyncssh")
async def _():
    import asyncssh

    await asyncssh.connect(HOST, PORT, connect_timeout=SECONDS)


@program("aiosmtplib")
async def _():
    import aiosmtplib

    await aiosmtplib.SMTP(hostname=HOST, port=PORT, timeout=SECONDS).connect()


@program("ldap3")
def _():
    import ldap3

    ldap3.Connection(ldap3.Server(HOST, PORT, connect_timeout=SECONDS)).bind()


@program("av")
def _():
    import av

    av.open(f"{URL}file.mp4", timeout=SECONDS)


@program("opencv-python-headless")
def _():
    import cv2

    cv2.VideoCapture(f"{URL}file.mp4")


@program("deltalake")
def _():
    import deltalake

    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "x"}
    options = {**keys, "AWS_ENDPOINT_URL": URL, "AWS_ALLOW_HTTP": "true", "max_retries": "0"}
    deltalake.DeltaTable("s3://bucket/table", storage_options=options)


@program("adbc-driver-postgresql", "adbc-driver-manager", "pyarrow")
def _():
    from adbc_driver_postgresql import dbapi

    dbapi.connect(f"postgresql://{HOST}:{PORT}/x?connect_timeout={SECONDS}")


if __name__ == "__main__":
    function = PROGRAMS[sys.argv[1]][0]
    try:
        if asyncio.iscoroutinefunction(function):
            with contextlib.suppress(TimeoutError):
                asyncio.run(asyncio.wait_for(function(), SECONDS))
        else:
            function()
        print("it did not fail", flush=True)
    except BaseException as err:
        print(f"{type(err).__name__}: {err}"[:300], flush=True)
    # Threads of C that try again and again do not end.
    os._exit(0)
