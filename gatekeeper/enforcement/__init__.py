"""Enforcement points: each speaks one mail protocol with phones; all are driven by the one flow."""
