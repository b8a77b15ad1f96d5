"""Imports what a small service imports, says so, and ends."""
import argparse
import asyncio
import csv
import decimal
import email.message
import http.server
import json
import logging
import sqlite3
import ssl
import sys
import unittest
import xml.etree.ElementTree

MODULES = (argparse, asyncio, csv, decimal, email.message, http.server, json, logging, sqlite3, ssl, unittest, xml.etree.ElementTree)
print("hello from python", sys.version.split()[0], "with", len(MODULES), "modules", flush=True)
